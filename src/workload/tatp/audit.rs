//! What must hold after a run.

use super::population::{START_HOURS, TYPES};
use super::rates::{concentration, judge};
use super::{KIND_COUNT, KINDS, Kind, RECORD_FORWARDINGS_LOADED, RECORD_SUCCESSES, Tables, Tatp};
use crate::protocol::Protocol;
use crate::workload::Finding;
use crate::workload::common::read_all;
use crate::{Store, Transaction, TransactionError};
use std::collections::HashSet;

/// What the tables hold.
#[derive(Debug, Clone, Copy, Default)]
struct Register {
    /// Subscribers that are not there.
    missing: u64,
    updates: u64,
    forwardings: u64,
    /// Call forwardings of facilities that do not exist.
    orphans: u64,
}

/// Audits the tables and the rates.
pub(super) fn audit<P: Protocol>(
    tatp: &Tatp,
    store: &Store<P>,
    tables: &Tables<P>,
) -> Result<Vec<Finding>, TransactionError> {
    let mut register = Register::default();
    store.view(|transaction| {
        register = read_register(tatp.subscribers, transaction, tables)?;
        Ok(())
    })?;
    let column = |first: usize| -> [u64; KIND_COUNT] {
        std::array::from_fn(|kind| tables.records.sum(first + kind))
    };
    let (completed, successes) = (column(0), column(RECORD_SUCCESSES));
    let loaded = tables.records.sum(RECORD_FORWARDINGS_LOADED);
    Ok(vec![
        judge_updates(register, successes),
        judge_forwardings(register, loaded, successes),
        judge_rates(completed, successes, concentration(tatp.subscribers)),
    ])
}

fn read_register<P: Protocol>(
    subscribers: u64,
    transaction: &Transaction<'_, P>,
    tables: &Tables<P>,
) -> Result<Register, TransactionError> {
    let mut register = Register::default();
    read_all(transaction, &tables.subscribers, 0..subscribers, |_, row| match row {
        Some(row) => register.updates += u64::from(row.updates),
        None => register.missing += 1,
    })?;
    let mut facilities = HashSet::new();
    read_all(transaction, &tables.special_facilities, 0..subscribers * TYPES, |key, row| {
        if row.is_some() {
            facilities.insert(key);
        }
    })?;
    let starts = START_HOURS.len() as u64;
    let forwardings = 0..subscribers * TYPES * starts;
    read_all(transaction, &tables.call_forwardings, forwardings, |key, row| {
        if row.is_some() {
            register.forwardings += 1;
            register.orphans += u64::from(!facilities.contains(&(key / starts)));
        }
    })?;
    Ok(register)
}

fn judge_updates(register: Register, successes: [u64; KIND_COUNT]) -> Finding {
    let Register { missing, updates, .. } = register;
    let kinds = [Kind::UpdateSubscriberData, Kind::UpdateLocation];
    let committed: u64 = kinds.into_iter().map(|kind| successes[kind as usize]).sum();
    // A row's counter has 32 bits; their sum is compared modulo that.
    Finding {
        what: "every committed update is in its subscriber's row",
        holds: updates as u32 == committed as u32 && missing == 0,
        evidence: format!(
            "rows have {updates} updates, {committed} were committed; {missing} rows are missing"
        ),
    }
}

fn judge_forwardings(register: Register, loaded: u64, successes: [u64; KIND_COUNT]) -> Finding {
    let Register { forwardings, orphans, .. } = register;
    let inserted = successes[Kind::InsertCallForwarding as usize];
    let deleted = successes[Kind::DeleteCallForwarding as usize];
    Finding {
        what: "call forwardings are those loaded and inserted and not deleted",
        holds: forwardings + deleted == loaded + inserted && orphans == 0,
        evidence: format!(
            "{forwardings} are there; {loaded} loaded, {inserted} inserted, {deleted} deleted; \
             {orphans} refer to no facility"
        ),
    }
}

fn judge_rates(
    completed: [u64; KIND_COUNT],
    successes: [u64; KIND_COUNT],
    concentration: f64,
) -> Finding {
    let judged = judge(completed, successes, concentration);
    let told = judged.iter().filter(|(kind, _)| completed[*kind as usize] > 0);
    let told: Vec<String> = told
        .map(|(kind, judgement)| {
            let verdict = if judgement.holds { "" } else { ", OUTSIDE" };
            format!("{} {}{verdict}", KINDS[*kind as usize].to_lowercase(), judgement.told)
        })
        .collect();
    Finding {
        what: "transactions succeed as often as the population says",
        holds: judged.iter().all(|(_, judgement)| judgement.holds),
        evidence: told.join("; "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Mvocc;
    use crate::sync::fault::Fault;
    use crate::workload::common::testing::{self, Loaded};

    const UPDATES: &str = "every committed update is in its subscriber's row";
    const FORWARDINGS: &str = "call forwardings are those loaded and inserted and not deleted";
    const RATES: &str = "transactions succeed as often as the population says";
    const SMALL: &[(&str, &str)] = &[("subscribers", "20"), ("updatelocationproportion", "5")];

    #[test]
    fn changed_rows_are_found() {
        let tatp = Loaded::<Tatp, Mvocc>::new(SMALL);
        tatp.work(1, 300, &[]);
        tatp.expect_all_hold();
        let (store, tables) = (&tatp.store, &tatp.tables);
        let add = |more: u32| {
            store.transact(|tx| {
                tx.update(&tables.subscribers, &7, |row| super::super::population::Subscriber {
                    updates: row.updates.wrapping_add(more),
                    ..*row
                })
            })
        };
        assert_eq!(add(1), Ok(true));
        tatp.expect_broken(UPDATES);
        assert_eq!(add(u32::MAX), Ok(true));
        let mut facilities = 0..20 * TYPES;
        let removed = facilities.any(|key| {
            store.transact(|tx| tx.remove(&tables.special_facilities, &key)) == Ok(true)
                && tatp.audit(crate::workload::Moment::After)[1].evidence.contains(" refer")
                && !tatp.audit(crate::workload::Moment::After)[1].holds
        });
        assert!(removed, "some facility has a call forwarding");
        tatp.expect_broken(FORWARDINGS);
    }

    #[test]
    fn a_lost_call_forwarding_is_found() {
        let tatp = Loaded::<Tatp, Mvocc>::new(SMALL);
        let mut keys = 0..20 * TYPES * 3;
        let table = &tatp.tables.call_forwardings;
        let removed = keys.any(|key| tatp.store.transact(|tx| tx.remove(table, &key)) == Ok(true));
        assert!(removed, "some call forwarding exists");
        tatp.expect_broken(FORWARDINGS);
    }

    #[test]
    fn a_rate_that_is_off_is_found() {
        // Enough subscribers for the rates to be near those of the specification.
        let tatp = Loaded::<Tatp, Mvocc>::new(&[("subscribers", "2000")]);
        tatp.work(1, 10_000, &[]);
        tatp.expect_all_hold();
        // As if the outcome of one kind were upside down.
        let page = tatp.tables.records.page();
        let kind = Kind::GetAccessData as usize;
        page.add(kind, 100_000);
        page.add(RECORD_SUCCESSES + kind, 37_500);
        tatp.expect_broken(RATES);
    }

    #[test]
    fn lost_updates_are_found() {
        testing::faults_are_found::<Tatp>(&[Fault::IgnoreBase], SMALL, UPDATES);
    }
}
