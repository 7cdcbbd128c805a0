//! Payment (clause 2.5).

use super::super::keys;
use super::super::request::Payment;
use super::super::rows::{CUSTOMER_DATA_LEN_MAX_BYTES, Credit, History};
use super::super::text::Text;
use super::Attempt;
use crate::TransactionError;
use crate::protocol::Protocol;
use std::io::Write;

/// How much of C_DATA the terminal shows (clause 2.5.3.4).
const DATA_SHOWN_LEN_MAX_BYTES: usize = 200;

impl<P: Protocol> Attempt<'_, '_, P> {
    pub(super) fn payment(
        &mut self,
        request: &Payment,
        history: u64,
    ) -> Result<(), TransactionError> {
        let (tx, tables) = (self.transaction, self.tables);
        let Payment { warehouse, district, amount, .. } = request;
        let mut names = [Text::EMPTY; 2];
        let mut addresses = [None; 2];
        let found = tx.update(&tables.warehouses, &u64::from(*warehouse), |row| {
            (names[0], addresses[0]) = (row.name, Some(row.address));
            let mut row = *row;
            row.ytd += amount;
            row
        })?;
        self.must(found);
        let found =
            tx.update(&tables.districts, &keys::district(*warehouse, *district), |row| {
                (names[1], addresses[1]) = (row.name, Some(row.address));
                let mut row = *row;
                row.ytd += amount;
                row
            })?;
        self.must(found);
        if let [Some(one), Some(other)] = addresses {
            self.scratch.screen.addresses = Some([one, other]);
        }
        let place = (request.customer_warehouse, request.customer_district);
        let Some(customer) = self.find_customer(place, &request.customer)? else {
            return Ok(());
        };
        self.pay(request, customer)?;
        let row = History {
            warehouse: *warehouse,
            district: *district,
            customer_warehouse: request.customer_warehouse,
            customer_district: request.customer_district,
            customer: keys::customer_number(customer),
            date: request.date,
            amount: *amount,
            data: history_data(&names),
        };
        self.must_be_new(tx.insert(&tables.history, history, row)?);
        Ok(())
    }

    /// The customer's side of the payment.
    fn pay(&mut self, request: &Payment, customer: u64) -> Result<(), TransactionError> {
        let (tx, tables) = (self.transaction, self.tables);
        let mut shown = None;
        let found = tx.update(&tables.customers, &customer, |row| {
            let mut row = *row;
            row.balance -= request.amount;
            row.ytd_payment += request.amount;
            row.payment_count += 1;
            shown = Some(row);
            row
        })?;
        self.must(found);
        self.scratch.screen.customer = shown;
        if shown.is_some_and(|row| row.credit == Credit::Bad) {
            let mut buffer = std::mem::take(&mut self.scratch.data);
            let note = |old: &[u8], new: &mut Vec<u8>| {
                prepend_note(request, keys::customer_number(customer), old, new);
            };
            let found = tx.update_bytes(&tables.customer_data, &customer, &mut buffer, note);
            let seen = &buffer[..buffer.len().min(DATA_SHOWN_LEN_MAX_BYTES)];
            self.scratch.screen.customer_data.extend_from_slice(seen);
            self.scratch.data = buffer;
            let found = found?;
            self.must(found);
        }
        Ok(())
    }
}

/// C_DATA of a customer with bad credit: the payment in front of what was there, cut at the end.
fn prepend_note(request: &Payment, customer: u32, old: &[u8], new: &mut Vec<u8>) {
    let Payment { warehouse, district, customer_warehouse, customer_district, amount, .. } =
        request;
    write!(
        new,
        "{customer} {customer_district} {customer_warehouse} {district} {warehouse} {}.{:02} ",
        amount / 100,
        amount % 100
    )
    .expect("writing to memory does not fail");
    new.extend_from_slice(old);
    new.truncate(CUSTOMER_DATA_LEN_MAX_BYTES);
}

/// H_DATA: both names with four spaces between them.
fn history_data(names: &[Text<10>; 2]) -> Text<24> {
    let mut data = [0; 24];
    let (one, other) = (names[0].as_bytes(), names[1].as_bytes());
    data[..one.len()].copy_from_slice(one);
    data[one.len()..one.len() + 4].fill(b' ');
    data[one.len() + 4..one.len() + 4 + other.len()].copy_from_slice(other);
    Text::of(&data)
}

#[cfg(test)]
mod tests {
    use super::super::super::request::Selector;
    use super::*;

    #[test]
    fn notes_are_put_in_front_and_the_end_is_cut_off() {
        let request = Payment {
            warehouse: 4,
            district: 5,
            customer_warehouse: 2,
            customer_district: 3,
            customer: Selector::Number(77),
            amount: 1_234_05,
            date: 0,
        };
        let mut new = Vec::new();
        prepend_note(&request, 77, b"before", &mut new);
        assert_eq!(new, b"77 3 2 5 4 1234.05 before");
        new.clear();
        prepend_note(&request, 77, &[b'x'; 500], &mut new);
        assert_eq!(new.len(), 500);
        assert!(new.starts_with(b"77 3 2 5 4 1234.05 xxx"));
    }

    #[test]
    fn the_history_names_both_places() {
        let names = [Text::of(b"tenletters"), Text::of(b"sixsix")];
        assert_eq!(history_data(&names).as_bytes(), b"tenletters    sixsix");
        let names = [Text::of(b"0123456789"), Text::of(b"0123456789")];
        assert_eq!(history_data(&names).as_bytes().len(), 24);
    }
}
