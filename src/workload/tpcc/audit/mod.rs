//! Audits: the twelve consistency conditions of clause 3.3.2 in one snapshot, while the run goes on
//! and after it; and after it the audit of the run of clause 9.2.2.5.

mod books;
mod conditions;
pub(super) mod requests;

use super::config::Config;
use super::tables::Tables;
use crate::protocol::Protocol;
use crate::workload::{Finding, Moment};
use crate::{Store, Transaction, TransactionError};
use books::Books;

/// How often an audit beside the run is tried, with a protocol whose views can fail.
const ATTEMPTS_DURING: u32 = 3;

/// Audits the tables, and after the run the requests too.
pub(super) fn audit<P: Protocol>(
    config: &Config,
    store: &Store<P>,
    tables: &Tables<P>,
    moment: Moment,
) -> Result<Vec<Finding>, TransactionError> {
    let read = |tx: &Transaction<'_, P>| Books::read(tx, tables, config.scale);
    let books = match moment {
        Moment::During => attempt_few(store, read)?,
        Moment::After => store.view(read)?,
    };
    let mut findings = conditions::check(config.scale, &books);
    if moment == Moment::After {
        findings.extend(requests::check(config, |tally| tables.ledger.sum(tally as usize)));
    }
    Ok(findings)
}

/// As [`Store::view`], but not for ever: where views can fail, what commits during the audit makes
/// this one fail, and there may always be something. The last conflict says that it has starved.
fn attempt_few<P: Protocol, R>(
    store: &Store<P>,
    read: impl Fn(&Transaction<'_, P>) -> Result<R, TransactionError>,
) -> Result<R, TransactionError> {
    let attempt = || {
        let transaction = store.begin_view()?;
        let result = read(&transaction)?;
        transaction.commit().map(|()| result)
    };
    for _ in 1..ATTEMPTS_DURING {
        match attempt() {
            Err(TransactionError::Abort(_)) => {}
            outcome => return outcome,
        }
    }
    attempt()
}
