//! Voter, after VoltDB's example of a telephone vote: a few rows that every transaction writes, and
//! a table that only grows.
//!
//! The votes of a contestant are counted in the contestant's row, and those of a telephone in a row
//! of its own, which VoltDB keeps as materialised views. Each of these rows is written by the
//! transaction that reads it, so snapshot isolation keeps every promise that is audited here.

mod worker;

pub use worker::VoterWorker;

use super::common::{CHOICE, Ledger, load_rows, preset, read_all, tally};
use super::properties::honoured;
use super::{
    Finding, Footprint, LoadWatch, Moment, Preset, Properties, PropertyError, PropertyRow, Seed,
    TallyRole, TallyRow, Workload,
};
use crate::protocol::Protocol;
use crate::{Error, Store, Table, Transaction, TransactionError};

/// Area codes, and the first of them. Which state one belongs to is made up: nothing depends on it
/// but that it has to be looked up.
const AREA_CODES: u64 = 300;
const FIRST_AREA_CODE: u64 = 200;
const STATES: u64 = 51;
/// Telephones in one area.
const LOCAL_NUMBERS: u64 = 10_000_000;
/// The most telephones.
const PHONES_MAX: u64 = AREA_CODES * LOCAL_NUMBERS;
/// The most contestants, and the highest limit of votes.
const CONTESTANTS_MAX: u64 = 1 << 20;
const VOTE_LIMIT_MAX: u64 = u32::MAX as u64;

const KINDS: &[&str] = &["VOTE"];

/// What the workers count.
#[derive(Debug, Clone, Copy)]
enum Tally {
    Accepted,
    NoContestant,
    OverLimit,
    Wasted,
    Lost,
}

const TALLY_COUNT: usize = Tally::Lost as usize + 1;

const TALLIES: [TallyRow; TALLY_COUNT] = [
    tally("votes accepted", TallyRole::Operation),
    tally("votes for nobody, rejected", TallyRole::Operation),
    tally("votes beyond the limit, rejected", TallyRole::Operation),
    tally("operations of failed attempts", TallyRole::Wasted),
    tally("lost area codes or votes written twice", TallyRole::Violation),
];

/// The telephone vote.
#[derive(Debug)]
pub struct Voter {
    contestants: u64,
    phones: u64,
    vote_limit: u32,
    invalid_share: f64,
}

/// One vote: whom it is for, and the state that it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Vote {
    contestant: u32,
    state: u8,
}

/// The vote's tables in one store.
#[derive(Debug)]
pub struct Tables<P: Protocol> {
    /// Votes of each contestant.
    contestants: Table<u64, u64, P>,
    /// The state of each area code.
    area_codes: Table<u64, u8, P>,
    /// Votes of each telephone that has voted.
    phones: Table<u64, u32, P>,
    /// Each vote, by telephone and how many that telephone had made before.
    votes: Table<(u64, u32), Vote, P>,
    /// Accepted votes.
    accepted: Ledger<1>,
}

const PROPERTIES: &[PropertyRow] = &[
    CHOICE,
    honoured("contestants", "6", "contestants: so many rows are written by everyone"),
    honoured("phones", "100000", "telephones that may call, all alike"),
    honoured("votelimit", "1000", "votes of one telephone that are accepted"),
    honoured("invalidproportion", "0.01", "share of votes for a contestant that does not exist"),
];

const PRESETS: &[Preset] = &[preset(
    "voter",
    include_str!("../../../workloads/voter"),
    "a telephone vote: six counters that everyone writes, and an insert",
)];

impl Workload for Voter {
    type Tables<P: Protocol> = Tables<P>;
    type Worker<'run, P: Protocol> = VoterWorker<'run, P>;

    const CLASSES: &'static [&'static str] = &["voter"];
    const PRESETS: &'static [Preset] = PRESETS;
    const PROPERTIES: &'static [PropertyRow] = PROPERTIES;
    const KINDS: &'static [&'static str] = KINDS;
    const TALLIES: &'static [TallyRow] = &TALLIES;

    fn configure(properties: &Properties) -> Result<Self, PropertyError> {
        Ok(Voter {
            contestants: properties.whole("contestants", 6, 1, CONTESTANTS_MAX)?,
            phones: properties.whole("phones", 100_000, 1, PHONES_MAX)?,
            vote_limit: properties.whole("votelimit", 1_000, 1, VOTE_LIMIT_MAX)? as u32,
            invalid_share: properties.real("invalidproportion", 0.01, 0.0, 1.0)?,
        })
    }

    fn basis(&self) -> Vec<(&'static str, String)> {
        let Voter { contestants, phones, vote_limit, invalid_share } = self;
        vec![
            (
                "requests",
                format!(
                    "votes of {phones} telephones for {contestants} contestants, all alike; {} % \
                     for nobody; {vote_limit} votes a telephone are accepted",
                    invalid_share * 100.0
                ),
            ),
            ("operations", "a vote that is rejected commits without a write".to_owned()),
        ]
    }

    fn footprint(&self) -> Footprint {
        let row = size_of::<(u64, u32)>() + size_of::<Vote>() + size_of::<(u64, u32)>();
        Footprint {
            records: self.contestants + AREA_CODES,
            // Every telephone's row; how many votes there will be nobody knows.
            records_added: self.phones,
            record_bytes: row as u64,
        }
    }

    fn open<P: Protocol>(&self, store: &Store<P>) -> Result<Tables<P>, Error> {
        Ok(Tables {
            contestants: store.table("contestants")?,
            area_codes: store.table("area_codes")?,
            phones: store.table("phones")?,
            votes: store.table("votes")?,
            accepted: Ledger::new(),
        })
    }

    fn load<P: Protocol>(
        &self,
        store: &Store<P>,
        tables: &Tables<P>,
        _seed: Seed,
        watch: &dyn LoadWatch,
    ) -> Result<(), TransactionError> {
        let contestant = |contestant| (contestant, 0);
        load_rows(store, &tables.contestants, self.contestants, watch, contestant)?;
        let area = |index| (FIRST_AREA_CODE + index, (index % STATES) as u8);
        load_rows(store, &tables.area_codes, AREA_CODES, watch, area)
    }

    fn worker<'run, P: Protocol>(
        &'run self,
        store: &'run Store<P>,
        tables: &'run Tables<P>,
        seed: Seed,
        index: usize,
        _workers: usize,
    ) -> VoterWorker<'run, P> {
        VoterWorker::new(self, store, tables, seed, index)
    }

    fn audit<P: Protocol>(
        &self,
        store: &Store<P>,
        tables: &Tables<P>,
        moment: Moment,
    ) -> Result<Vec<Finding>, TransactionError> {
        let mut polls = Polls::default();
        let mut ballots = None;
        store.view(|transaction| {
            polls = self.count(transaction, tables)?;
            if moment == Moment::After {
                ballots = Some(self.recount(transaction, tables)?);
            }
            Ok(())
        })?;
        let mut findings = vec![
            Finding {
                what: "the contestants' votes sum to those of the telephones",
                holds: polls.by_contestant == polls.by_phone && polls.missing == 0,
                evidence: format!(
                    "contestants have {}, telephones have made {}; {} contestants are missing",
                    polls.by_contestant, polls.by_phone, polls.missing
                ),
            },
            Finding {
                what: "no telephone votes beyond the limit",
                holds: polls.most <= self.vote_limit,
                evidence: format!("the most is {} of {}", polls.most, self.vote_limit),
            },
        ];
        if let Some(ballots) = ballots {
            findings.push(self.judge_ballots(&ballots, tables.accepted.sum(0)));
        }
        Ok(findings)
    }

    fn audits_during(&self) -> bool {
        true
    }
}

/// The number of telephone `index`, different for each.
fn phone_number(index: u64) -> u64 {
    let area_code = FIRST_AREA_CODE + index % AREA_CODES;
    area_code * LOCAL_NUMBERS + index / AREA_CODES
}

fn area_code(phone: u64) -> u64 {
    phone / LOCAL_NUMBERS
}

/// What the counters of one snapshot say.
#[derive(Debug, Clone, Copy, Default)]
struct Polls {
    by_contestant: u64,
    by_phone: u64,
    /// The most votes of one telephone.
    most: u32,
    /// Contestants that are not there.
    missing: u64,
}

/// What the votes themselves say.
#[derive(Debug, Clone, Default)]
struct Ballots {
    votes: u64,
    /// Votes that their telephone has counted and that are not there.
    missing: u64,
    /// Contestants who have more or fewer votes than their row says.
    miscounted: u64,
}

impl Voter {
    /// Adds up the counters.
    fn count<P: Protocol>(
        &self,
        transaction: &Transaction<'_, P>,
        tables: &Tables<P>,
    ) -> Result<Polls, TransactionError> {
        let mut polls = Polls::default();
        read_all(transaction, &tables.contestants, 0..self.contestants, |_, votes| {
            polls.missing += u64::from(votes.is_none());
            polls.by_contestant += votes.copied().unwrap_or(0);
        })?;
        let phones = (0..self.phones).map(phone_number);
        read_all(transaction, &tables.phones, phones, |_, votes| {
            let votes = votes.copied().unwrap_or(0);
            polls.by_phone += u64::from(votes);
            polls.most = polls.most.max(votes);
        })?;
        Ok(polls)
    }

    /// Counts the votes themselves.
    fn recount<P: Protocol>(
        &self,
        transaction: &Transaction<'_, P>,
        tables: &Tables<P>,
    ) -> Result<Ballots, TransactionError> {
        let mut ballots = Ballots::default();
        let mut of_contestants = vec![0_u64; self.contestants as usize];
        for phone in (0..self.phones).map(phone_number) {
            let counted = transaction.get(&tables.phones, &phone)?.copied().unwrap_or(0);
            for number in 0..counted {
                let vote = transaction.get(&tables.votes, &(phone, number))?;
                match vote.and_then(|vote| of_contestants.get_mut(vote.contestant as usize)) {
                    Some(votes) => *votes += 1,
                    None => ballots.missing += 1,
                }
            }
        }
        ballots.votes = of_contestants.iter().sum();
        read_all(transaction, &tables.contestants, 0..self.contestants, |contestant, votes| {
            let own = of_contestants[contestant as usize];
            ballots.miscounted += u64::from(votes.copied() != Some(own));
        })?;
        Ok(ballots)
    }

    fn judge_ballots(&self, ballots: &Ballots, accepted: u64) -> Finding {
        let Ballots { votes, missing, miscounted } = *ballots;
        Finding {
            what: "every accepted vote is stored once, and counted for its contestant",
            holds: votes == accepted && missing == 0 && miscounted == 0,
            evidence: format!(
                "{votes} votes are stored, {accepted} were accepted, {missing} are counted and \
                 missing, {miscounted} of {} contestants have another number of votes",
                self.contestants
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Mvocc;
    use crate::sync::fault::Fault;
    use crate::workload::common::testing::{self, Loaded};

    const SMALL: &[(&str, &str)] = &[("phones", "20"), ("votelimit", "30")];
    const SUMS: &str = "the contestants' votes sum to those of the telephones";
    const STORED: &str = "every accepted vote is stored once, and counted for its contestant";

    #[test]
    fn audits_hold_on_every_protocol() {
        testing::holds_on_every_protocol::<Voter>(SMALL, 400);
    }

    #[test]
    fn telephones_are_all_different() {
        let mut numbers: Vec<u64> = (0..1_000).map(phone_number).collect();
        assert!(numbers.iter().all(|number| (200..500).contains(&area_code(*number))));
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 1_000);
        assert_eq!(area_code(phone_number(PHONES_MAX - 1)), 499);
    }

    #[test]
    fn changed_counters_and_votes_are_found() {
        let vote = Loaded::<Voter, Mvocc>::new(SMALL);
        vote.work(1, 300, &[]);
        vote.expect_all_hold();
        let (store, tables) = (&vote.store, &vote.tables);
        let add = |contestant: u64, more: u64| {
            let added = store.transact(|tx| {
                tx.update(&tables.contestants, &contestant, |votes| votes.wrapping_add(more))
            });
            assert_eq!(added, Ok(true));
        };
        add(1, 1);
        vote.expect_broken(SUMS);
        // The sum is right again, the contestants are not.
        add(2, u64::MAX);
        vote.expect_broken(STORED);
        add(1, u64::MAX);
        add(2, 1);
        vote.expect_all_hold();
        let phone = phone_number(0);
        store.transact(|tx| tx.put(&tables.phones, phone, 31)).expect("put");
        vote.expect_broken("no telephone votes beyond the limit");
    }

    /// A vote reads its contestant before it writes it, so both checks would find the lost update.
    const FAULTS: &[Fault] = &[Fault::IgnoreBase, Fault::SkipValidation];

    #[test]
    fn lost_updates_are_found() {
        testing::faults_are_found::<Voter>(FAULTS, SMALL, SUMS);
        testing::faults_are_found::<Voter>(FAULTS, SMALL, STORED);
    }

    #[test]
    fn bad_properties_are_refused() {
        testing::refuses::<Voter>(&[
            ("contestants", "0 six 1048577", "a whole number from 1 to 1048576"),
            ("phones", "0 3000000001 -1", "a whole number from 1 to 3000000000"),
            ("votelimit", "0 -1 4294967296 none", "a whole number from 1 to 4294967295"),
            ("invalidproportion", "1.1 NaN -0.01", "a number from 0 to 1"),
        ]);
        testing::refuses_with::<Voter>(&[
            ("phone=5", "unknown property phone (-p): did you mean phones?"),
            ("vote.limit=5", "unknown property vote.limit (-p): did you mean votelimit?"),
        ]);
    }
}
