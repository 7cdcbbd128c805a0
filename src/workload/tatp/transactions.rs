//! The seven transactions. Each gives whether it found what it looked for.

use super::Tables;
use super::population::{CallForwarding, START_HOURS, SubNbr, TYPES, forwarding_key, typed_key};
use crate::protocol::Protocol;
use crate::{Transaction, TransactionError};
use std::hint::black_box;

type Found = Result<bool, TransactionError>;

/// A request's parameters; each transaction uses some of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parameters {
    pub(super) subscriber: u64,
    pub(super) sub_nbr: SubNbr,
    /// The type of the access or of the special facility, from 0.
    pub(super) kind: u64,
    /// The place of the start hour, from 0.
    pub(super) start: u64,
    /// An hour of the day, 1 to 24.
    pub(super) hour: u8,
    pub(super) bit: bool,
    pub(super) data_a: u8,
    pub(super) location: u32,
    pub(super) forwarding: CallForwarding,
}

/// One attempt of one transaction.
pub(super) struct Attempt<'a, 's, P: Protocol> {
    pub(super) tables: &'a Tables<P>,
    pub(super) parameters: &'a Parameters,
    pub(super) transaction: &'a Transaction<'s, P>,
    /// Subscribers that must exist and were not there.
    pub(super) missing: &'a mut u64,
}

impl<P: Protocol> Attempt<'_, '_, P> {
    fn facility(&self) -> u64 {
        typed_key(self.parameters.subscriber, self.parameters.kind)
    }

    pub(super) fn get_subscriber_data(self) -> Found {
        let row = self.transaction.get(&self.tables.subscribers, &self.parameters.subscriber)?;
        *self.missing += u64::from(row.is_none());
        // All columns go to the client.
        black_box(row.copied());
        Ok(row.is_some())
    }

    pub(super) fn get_new_destination(self) -> Found {
        let Self { tables, parameters, transaction, .. } = self;
        let facility = self.facility();
        let row = transaction.get(&tables.special_facilities, &facility)?;
        if !row.is_some_and(|row| row.is_active) {
            return Ok(false);
        }
        let mut found = false;
        for start in 0..=parameters.start {
            let key = forwarding_key(facility, start);
            let forwarding = transaction.get(&tables.call_forwardings, &key)?;
            if let Some(forwarding) = forwarding.filter(|row| parameters.hour < row.end_hour) {
                black_box(forwarding.number);
                found = true;
            }
        }
        Ok(found)
    }

    pub(super) fn get_access_data(self) -> Found {
        let row = self.transaction.get(&self.tables.access_infos, &self.facility())?;
        black_box(row.copied());
        Ok(row.is_some())
    }

    pub(super) fn update_subscriber_data(self) -> Found {
        let Self { tables, parameters, transaction, .. } = self;
        let updated = transaction.update(&tables.subscribers, &parameters.subscriber, |row| {
            let bits = row.bits & !1 | u16::from(parameters.bit);
            super::population::Subscriber { bits, updates: row.updates.wrapping_add(1), ..*row }
        })?;
        *self.missing += u64::from(!updated);
        let facility = typed_key(parameters.subscriber, parameters.kind);
        let found = transaction.update(&tables.special_facilities, &facility, |row| {
            super::population::SpecialFacility { data_a: parameters.data_a, ..*row }
        })?;
        // The subscriber keeps its old bit, too.
        if found { Ok(true) } else { Err(transaction.rollback()) }
    }

    pub(super) fn update_location(self) -> Found {
        let Some(subscriber) = self.look_up()? else {
            return Ok(false);
        };
        let location = self.parameters.location;
        let updated = self.transaction.update(&self.tables.subscribers, &subscriber, |row| {
            let updates = row.updates.wrapping_add(1);
            super::population::Subscriber { vlr_location: location, updates, ..*row }
        })?;
        *self.missing += u64::from(!updated);
        Ok(updated)
    }

    pub(super) fn insert_call_forwarding(self) -> Found {
        let Self { tables, parameters, transaction, .. } = self;
        let Some(subscriber) = self.look_up()? else {
            return Ok(false);
        };
        // The types of the subscriber's facilities; the row to be inserted refers to one of them.
        let mut refers = false;
        for kind in 0..TYPES {
            let key = typed_key(subscriber, kind);
            let exists = transaction.get(&tables.special_facilities, &key)?.is_some();
            refers |= exists && kind == parameters.kind;
        }
        if !refers {
            return Ok(false);
        }
        let key = forwarding_key(typed_key(subscriber, parameters.kind), parameters.start);
        transaction.insert(&tables.call_forwardings, key, parameters.forwarding)
    }

    pub(super) fn delete_call_forwarding(self) -> Found {
        let Some(subscriber) = self.look_up()? else {
            return Ok(false);
        };
        let Parameters { kind, start, .. } = *self.parameters;
        let key = forwarding_key(typed_key(subscriber, kind), start);
        self.transaction.remove(&self.tables.call_forwardings, &key)
    }

    /// The subscriber of the request's number. All requests are about numbers that exist.
    fn look_up(&self) -> Result<Option<u64>, TransactionError> {
        Ok(self.transaction.get(&self.tables.numbers, &self.parameters.sub_nbr)?.copied())
    }
}

const _: () = assert!(START_HOURS.len() == 3);
