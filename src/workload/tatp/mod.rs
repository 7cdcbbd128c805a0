//! TATP, the Telecommunication Application Transaction Processing benchmark (IBM Software Group and
//! Solid, "Telecommunication Application Transaction Processing (TATP) Benchmark Description",
//! version 1.0, 2009): a home location register. Seven short transactions, four of five read only.
//!
//! Many of its transactions look for a row that need not exist. Finding none is an outcome and not
//! a failure: the transaction is complete. How often each kind succeeds follows from the
//! population, so the rates are audited: a tool that has the outcome of one kind upside down is
//! found out.
//!
//! # Departures
//!
//! * A subscriber's row counts its updates, so that the audit notices a lost one.
//! * A call forwarding that is inserted ends 1 to 8 hours after it starts, as those that are loaded
//!   do. With an end drawn from the whole day, as the specification has it, GET_NEW_DESTINATION
//!   would succeed more and more often while the run goes on.

mod audit;
mod population;
mod rates;
mod transactions;
mod worker;

pub use worker::TatpWorker;

use super::common::{CHOICE, Ledger, describe_shares, preset, read_shares, tally};
use super::generator::Shares;
use super::properties::honoured;
use super::{
    Finding, Footprint, KeyStream, LoadWatch, Moment, Preset, Properties, PropertyError,
    PropertyRow, Purpose, Seed, TallyRole, TallyRow, Workload,
};
use crate::protocol::Protocol;
use crate::{Error, Store, Table, TransactionError};
use population::{AccessInfo, CallForwarding, SpecialFacility, SubNbr, Subscriber};

/// The most subscribers.
const SUBSCRIBERS_MAX: u64 = 1 << 30;

const KINDS: &[&str] = &[
    "GET-SUBSCRIBER-DATA",
    "GET-NEW-DESTINATION",
    "GET-ACCESS-DATA",
    "UPDATE-SUBSCRIBER-DATA",
    "UPDATE-LOCATION",
    "INSERT-CALL-FORWARDING",
    "DELETE-CALL-FORWARDING",
];
const KIND_COUNT: usize = KINDS.len();
const WEIGHTS: [(&str, f64); KIND_COUNT] = [
    ("getsubscriberdataproportion", 0.35),
    ("getnewdestinationproportion", 0.1),
    ("getaccessdataproportion", 0.35),
    ("updatesubscriberdataproportion", 0.02),
    ("updatelocationproportion", 0.14),
    ("insertcallforwardingproportion", 0.02),
    ("deletecallforwardingproportion", 0.02),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    GetSubscriberData,
    GetNewDestination,
    GetAccessData,
    UpdateSubscriberData,
    UpdateLocation,
    InsertCallForwarding,
    DeleteCallForwarding,
}

impl Kind {
    const ALL: [Kind; KIND_COUNT] = [
        Kind::GetSubscriberData,
        Kind::GetNewDestination,
        Kind::GetAccessData,
        Kind::UpdateSubscriberData,
        Kind::UpdateLocation,
        Kind::InsertCallForwarding,
        Kind::DeleteCallForwarding,
    ];
}

/// What the workers count: completed transactions, found or not.
#[derive(Debug, Clone, Copy)]
enum Tally {
    Successful,
    Unsuccessful,
    Wasted,
    Lost,
}

const TALLY_COUNT: usize = Tally::Lost as usize + 1;

const TALLIES: [TallyRow; TALLY_COUNT] = [
    tally("successful", TallyRole::Operation),
    tally("complete without success", TallyRole::Operation),
    tally("operations of failed attempts", TallyRole::Wasted),
    tally("lost subscribers", TallyRole::Violation),
];

/// What workers record for the audit: completed and successful transactions by kind, and what the
/// load made.
type Records = Ledger<RECORD_COUNT>;
const RECORD_SUCCESSES: usize = KIND_COUNT;
const RECORD_FORWARDINGS_LOADED: usize = 2 * KIND_COUNT;
const RECORD_COUNT: usize = RECORD_FORWARDINGS_LOADED + 1;

/// TATP.
#[derive(Debug)]
pub struct Tatp {
    mix: Shares,
    subscribers: u64,
}

/// TATP's tables in one store. Composite keys are packed into one number, see [`population`].
#[derive(Debug)]
pub struct Tables<P: Protocol> {
    subscribers: Table<u64, Subscriber, P>,
    /// Subscribers by their number.
    numbers: Table<SubNbr, u64, P>,
    access_infos: Table<u64, AccessInfo, P>,
    special_facilities: Table<u64, SpecialFacility, P>,
    call_forwardings: Table<u64, CallForwarding, P>,
    records: Records,
}

const PROPERTIES: &[PropertyRow] = &[
    CHOICE,
    honoured("subscribers", "100000", "subscribers, each with about eleven rows"),
    honoured("getsubscriberdataproportion", "0.35", "share of GET_SUBSCRIBER_DATA"),
    honoured("getnewdestinationproportion", "0.1", "share of GET_NEW_DESTINATION"),
    honoured("getaccessdataproportion", "0.35", "share of GET_ACCESS_DATA"),
    honoured("updatesubscriberdataproportion", "0.02", "share of UPDATE_SUBSCRIBER_DATA"),
    honoured("updatelocationproportion", "0.14", "share of UPDATE_LOCATION"),
    honoured("insertcallforwardingproportion", "0.02", "share of INSERT_CALL_FORWARDING"),
    honoured("deletecallforwardingproportion", "0.02", "share of DELETE_CALL_FORWARDING"),
];

const PRESETS: &[Preset] = &[preset(
    "tatp",
    include_str!("../../../workloads/tatp"),
    "a home location register: seven short transactions, 80 % read only",
)];

impl Workload for Tatp {
    type Tables<P: Protocol> = Tables<P>;
    type Worker<'run, P: Protocol> = TatpWorker<'run, P>;

    const CLASSES: &'static [&'static str] = &["tatp"];
    const PRESETS: &'static [Preset] = PRESETS;
    const PROPERTIES: &'static [PropertyRow] = PROPERTIES;
    const KINDS: &'static [&'static str] = KINDS;
    const TALLIES: &'static [TallyRow] = &TALLIES;

    fn configure(properties: &Properties) -> Result<Self, PropertyError> {
        Ok(Tatp {
            mix: read_shares(properties, &WEIGHTS)?,
            subscribers: properties.whole("subscribers", 100_000, 1, SUBSCRIBERS_MAX)?,
        })
    }

    fn basis(&self) -> Vec<(&'static str, String)> {
        vec![
            ("mix", describe_shares(KINDS, &self.mix)),
            (
                "requests",
                format!(
                    "{} subscribers, drawn not uniformly: by the or of two draws, as specified",
                    self.subscribers
                ),
            ),
            (
                "operations",
                "a transaction that finds no row is complete; UPDATE-SUBSCRIBER-DATA is rolled \
                 back then, the others commit without a write"
                    .to_owned(),
            ),
        ]
    }

    fn footprint(&self) -> Footprint {
        population::footprint(self.subscribers)
    }

    fn open<P: Protocol>(&self, store: &Store<P>) -> Result<Tables<P>, Error> {
        Ok(Tables {
            subscribers: store.table("subscriber")?,
            numbers: store.table("sub_nbr")?,
            access_infos: store.table("access_info")?,
            special_facilities: store.table("special_facility")?,
            call_forwardings: store.table("call_forwarding")?,
            records: Ledger::new(),
        })
    }

    fn load<P: Protocol>(
        &self,
        store: &Store<P>,
        tables: &Tables<P>,
        seed: Seed,
        watch: &dyn LoadWatch,
    ) -> Result<(), TransactionError> {
        population::load(self.subscribers, store, tables, seed, watch)
    }

    fn worker<'run, P: Protocol>(
        &'run self,
        store: &'run Store<P>,
        tables: &'run Tables<P>,
        seed: Seed,
        index: usize,
        _workers: usize,
    ) -> TatpWorker<'run, P> {
        TatpWorker::new(self, store, tables, seed, index)
    }

    fn audit<P: Protocol>(
        &self,
        store: &Store<P>,
        tables: &Tables<P>,
        moment: Moment,
    ) -> Result<Vec<Finding>, TransactionError> {
        match moment {
            // What it compares with is known when all workers have ended.
            Moment::During => Ok(Vec::new()),
            Moment::After => audit::audit(self, store, tables),
        }
    }

    fn key_stream(
        &self,
        seed: Seed,
        index: usize,
        _workers: usize,
    ) -> Option<(KeyStream<'_>, u64)> {
        let mut random = seed.stream(Purpose::Keys, index as u64);
        let subscribers = self.subscribers;
        let draw = move || population::draw_subscriber(&mut random, subscribers);
        Some((Box::new(draw), subscribers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::common::testing;

    #[test]
    fn audits_hold_on_every_protocol() {
        // Writes more often than specified, so that few subscribers meet often.
        let settings = [
            ("subscribers", "50"),
            ("updatesubscriberdataproportion", "0.3"),
            ("updatelocationproportion", "0.3"),
            ("insertcallforwardingproportion", "0.3"),
            ("deletecallforwardingproportion", "0.3"),
        ];
        testing::holds_on_every_protocol::<Tatp>(&settings, 400);
    }

    #[test]
    fn bad_properties_are_refused() {
        testing::refuses::<Tatp>(&[
            ("subscribers", "0 -5 1e5 99999999999", "a whole number from 1 to 1073741824"),
            ("getsubscriberdataproportion", "half", "a number from 0 to 1000000000"),
            ("getnewdestinationproportion", "inf", "a number from 0 to 1000000000"),
            ("getaccessdataproportion", "-0.1", "a number from 0 to 1000000000"),
            ("updatesubscriberdataproportion", "0,02", "a number from 0 to 1000000000"),
            ("updatelocationproportion", "NaN", "a number from 0 to 1000000000"),
            ("insertcallforwardingproportion", "2e9", "a number from 0 to 1000000000"),
            ("deletecallforwardingproportion", "", "a number from 0 to 1000000000"),
        ]);
        testing::refuses_with::<Tatp>(&[
            ("subscriber=5", "unknown property subscriber (-p): did you mean subscribers?"),
            ("subscribers", "-p subscribers: write it as -p name=value"),
            (
                "getsubscriberdataproportion=0 getnewdestinationproportion=0 \
                 getaccessdataproportion=0 updatesubscriberdataproportion=0 \
                 updatelocationproportion=0 insertcallforwardingproportion=0 \
                 deletecallforwardingproportion=0",
                "the proportions sum to 0: raise one of getsubscriberdataproportion, \
                 getnewdestinationproportion, getaccessdataproportion, \
                 updatesubscriberdataproportion, updatelocationproportion, \
                 insertcallforwardingproportion, deletecallforwardingproportion",
            ),
        ]);
    }
}
