//! The rows of the nine tables (clause 1.3). Money is in whole cents, rates are in whole
//! ten-thousandths.

use super::text::Text;

/// An amount of money in cents.
pub(super) type Cents = i64;
/// A tax or discount in ten-thousandths.
pub(super) type Rate = u16;
/// Microseconds since 1970.
pub(super) type Timestamp = u64;

/// C_CREDIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Credit {
    /// "GC".
    Good,
    /// "BC".
    Bad,
}

#[allow(dead_code, reason = "a row has all columns, also those that no transaction looks at")]
#[derive(Debug, Clone, Copy)]
pub(super) struct Address {
    pub(super) street_1: Text<20>,
    pub(super) street_2: Text<20>,
    pub(super) city: Text<20>,
    pub(super) state: Text<2>,
    pub(super) zip: Text<9>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Warehouse {
    pub(super) name: Text<10>,
    pub(super) address: Address,
    pub(super) tax: Rate,
    pub(super) ytd: Cents,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct District {
    pub(super) name: Text<10>,
    pub(super) address: Address,
    pub(super) tax: Rate,
    pub(super) ytd: Cents,
    /// D_NEXT_O_ID.
    pub(super) next_order: u32,
}

/// A customer without C_DATA, which lies in a table of its own: one payment in ten needs it, and
/// it is longer than all the rest (vertical partitioning, clause 1.4.5).
#[allow(dead_code, reason = "as for `Address`")]
#[derive(Debug, Clone, Copy)]
pub(super) struct Customer {
    pub(super) first: Text<16>,
    pub(super) middle: Text<2>,
    pub(super) last: Text<16>,
    pub(super) address: Address,
    pub(super) phone: Text<16>,
    pub(super) since: Timestamp,
    pub(super) credit: Credit,
    pub(super) credit_limit: Cents,
    pub(super) discount: Rate,
    pub(super) balance: Cents,
    pub(super) ytd_payment: Cents,
    pub(super) payment_count: u32,
    pub(super) delivery_count: u32,
}

/// The longest C_DATA.
pub(super) const CUSTOMER_DATA_LEN_MAX_BYTES: usize = 500;

#[allow(dead_code, reason = "as for `Address`")]
#[derive(Debug, Clone, Copy)]
pub(super) struct History {
    pub(super) warehouse: u32,
    pub(super) district: u32,
    pub(super) customer_warehouse: u32,
    pub(super) customer_district: u32,
    pub(super) customer: u32,
    pub(super) date: Timestamp,
    pub(super) amount: Cents,
    pub(super) data: Text<24>,
}

#[allow(dead_code, reason = "as for `Address`")]
#[derive(Debug, Clone, Copy)]
pub(super) struct Order {
    pub(super) customer: u32,
    pub(super) entered: Timestamp,
    /// O_CARRIER_ID; `None` until the order is delivered.
    pub(super) carrier: Option<u8>,
    pub(super) line_count: u8,
    pub(super) all_local: bool,
}

#[allow(dead_code, reason = "as for `Address`")]
#[derive(Debug, Clone, Copy)]
pub(super) struct OrderLine {
    pub(super) item: u32,
    pub(super) supplier: u32,
    /// OL_DELIVERY_D; `None` until the order is delivered.
    pub(super) delivered: Option<Timestamp>,
    pub(super) quantity: u8,
    pub(super) amount: Cents,
    pub(super) district_info: Text<24>,
}

#[allow(dead_code, reason = "as for `Address`")]
#[derive(Debug, Clone, Copy)]
pub(super) struct Item {
    pub(super) image: u32,
    pub(super) name: Text<24>,
    pub(super) price: Cents,
    pub(super) data: Text<50>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Stock {
    pub(super) quantity: i16,
    pub(super) order_count: u32,
    pub(super) remote_count: u32,
    pub(super) ytd: u64,
    pub(super) data: Text<50>,
    /// S_DIST_01 to S_DIST_10.
    pub(super) districts: [Text<24>; 10],
}
