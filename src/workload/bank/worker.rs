//! One worker of the bank.

use super::{Bank, Books, KINDS, Kind, TALLY_COUNT, Tables, Tally};
use crate::protocol::Protocol;
use crate::workload::common::{Page, draw_two};
use crate::workload::generator::Keys;
use crate::workload::{End, Fingerprint, Purpose, Random, Seed, Worker};
use crate::{Attempts, Error, Store, Transaction, TransactionError};
use rand::RngExt;
use std::hint::black_box;
use std::sync::Arc;

/// One worker of the bank.
pub struct BankWorker<'run, P: Protocol> {
    bank: &'run Bank,
    store: &'run Store<P>,
    tables: &'run Tables<P>,
    keys: Keys,
    operations: Random,
    values: Random,
    request: Request,
    seen: Seen,
    tallies: [u64; TALLY_COUNT],
    page: Arc<Page<1>>,
}

impl<P: Protocol> std::fmt::Debug for BankWorker<'_, P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { request, tallies, .. } = self;
        let mut shown = f.debug_struct("BankWorker");
        shown.field("request", request).field("tallies", tallies).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy)]
struct Request {
    kind: Kind,
    /// The account that is drawn on or read.
    from: u64,
    to: u64,
    /// Which row of each account.
    from_part: u64,
    to_part: u64,
    amount: i64,
}

/// What an attempt leaves behind; every attempt starts it afresh.
#[derive(Debug, Default)]
struct Seen {
    missing: u64,
    refused: bool,
    books: Option<Books>,
}

impl<'run, P: Protocol> BankWorker<'run, P> {
    pub(super) fn new(
        bank: &'run Bank,
        store: &'run Store<P>,
        tables: &'run Tables<P>,
        seed: Seed,
        index: usize,
        workers: usize,
    ) -> Self {
        let kind = Kind::Transfer;
        BankWorker {
            bank,
            store,
            tables,
            keys: Keys::new(&bank.accounts, seed, index as u64, workers as u64),
            operations: seed.stream(Purpose::Operations, index as u64),
            values: seed.stream(Purpose::Values, index as u64),
            request: Request { kind, from: 0, to: 1, from_part: 0, to_part: 0, amount: 0 },
            seen: Seen::default(),
            tallies: [0; TALLY_COUNT],
            page: tables.transfers.page(),
        }
    }
}

impl<P: Protocol> Worker for BankWorker<'_, P> {
    #[inline]
    fn prepare(&mut self) {
        let bank = self.bank;
        let kinds = [Kind::Transfer, Kind::Read, Kind::Audit];
        let kind = kinds[bank.mix.choose(self.operations.random())];
        // Every kind draws the same, so that the mix does not change which accounts are asked for.
        let (from, to) = draw_two(&mut self.keys, bank.accounts.space.count);
        self.request = Request {
            kind,
            from,
            to,
            from_part: self.values.random_range(0..bank.rows),
            to_part: self.values.random_range(0..bank.rows),
            amount: self.values.random_range(1..=bank.amount_max),
        };
        self.seen = Seen::default();
    }

    #[inline]
    fn execute(&mut self, attempts: &mut Attempts) -> Result<End, Error> {
        let Self { bank, store, tables, request, seen, .. } = self;
        let outcome = match request.kind {
            Kind::Transfer => {
                store.transact_observed(attempts, |tx| transfer(bank, tables, request, seen, tx))
            }
            Kind::Read => store.view_observed(attempts, |tx| read(bank, tables, request, seen, tx)),
            Kind::Audit => store.view_observed(attempts, |tx| {
                seen.books = Some(bank.read_books(tx, tables)?);
                Ok(())
            }),
        };
        self.tallies[Tally::Wasted as usize] += attempts.attempts.saturating_sub(1);
        End::of(outcome)
    }

    #[inline]
    fn settle(&mut self, end: End) {
        let kind = self.request.kind;
        self.tallies[Tally::Refused as usize] +=
            u64::from(self.seen.refused && end == End::RolledBack);
        if end != End::Committed {
            return;
        }
        self.tallies[kind as usize] += 1;
        self.tallies[Tally::Lost as usize] += self.seen.missing;
        if let Some(books) = self.seen.books {
            let right = books.total == self.bank.economy() && books.missing_rows == 0;
            self.tallies[Tally::WrongTotal as usize] += u64::from(!right);
        }
        if let Kind::Transfer = kind {
            self.page.add(0, 1);
        }
    }

    fn describe(&self, fingerprint: &mut Fingerprint) {
        let Request { kind, from, to, from_part, to_part, amount } = self.request;
        let numbers = [kind as u64, from, to, from_part, to_part, amount.cast_unsigned()];
        numbers.into_iter().for_each(|number| fingerprint.add_number(number));
    }

    #[inline]
    fn kind(&self) -> usize {
        self.request.kind as usize
    }

    #[inline]
    fn tallies(&self) -> &[u64] {
        &self.tallies
    }
}

const _: () = assert!(Kind::Audit as usize + 1 == KINDS.len());

fn transfer<P: Protocol>(
    bank: &Bank,
    tables: &Tables<P>,
    request: &Request,
    seen: &mut Seen,
    transaction: &Transaction<'_, P>,
) -> Result<(), TransactionError> {
    *seen = Seen::default();
    let Request { from, to, from_part, to_part, amount, .. } = *request;
    let (balances, rows) = (&tables.balances, bank.rows);
    // What the account has in its other row, which this transfer reads and does not write.
    let elsewhere = match rows {
        1 => Some(0),
        _ => transaction.get(balances, &(from * rows + 1 - from_part))?.copied(),
    };
    let mut left = 0;
    let drawn = transaction.update(balances, &(from * rows + from_part), |balance| {
        left = balance.wrapping_sub(amount);
        left
    })?;
    if !bank.overdraft && left.wrapping_add(elsewhere.unwrap_or(0)) < 0 {
        seen.refused = true;
        return Err(transaction.rollback());
    }
    let paid = transaction.update(balances, &(to * rows + to_part), |b| b.wrapping_add(amount))?;
    seen.missing =
        [elsewhere.is_some(), drawn, paid].into_iter().filter(|there| !there).count() as u64;
    Ok(())
}

fn read<P: Protocol>(
    bank: &Bank,
    tables: &Tables<P>,
    request: &Request,
    seen: &mut Seen,
    transaction: &Transaction<'_, P>,
) -> Result<(), TransactionError> {
    *seen = Seen::default();
    let mut sum = 0;
    for part in 0..bank.rows {
        match transaction.get(&tables.balances, &(request.from * bank.rows + part))? {
            Some(balance) => sum += balance,
            None => seen.missing += 1,
        }
    }
    black_box(sum);
    Ok(())
}
