//! The properties of YCSB's core workload, and ours beside them.

use crate::workload::properties::{honoured, refused, row};
use crate::workload::{PropertyRow, Rule};

const RETRIES: &str =
    "an insert that conflicts is retried by the store until it commits; leave it out";
const BASIC_DB: &str = "the no-op engine is `chronolith probe harness`; leave it out";
const OCCUPANCY: &str =
    "it belongs to ConstantOccupancyWorkload, which is not available; leave it out";
const BIGTABLE: &str = "it belongs to YCSB's Bigtable binding; leave it out";
const FRESH: &str = "every run loads a fresh store; leave it out";

/// Every property of the core workload that is known by name.
pub(super) const ROWS: &[PropertyRow] = &[
    honoured("workload", "CoreWorkload", "the workload's class"),
    honoured("table", "usertable", "the table's name"),
    honoured("recordcount", "0", "records in the table; 0 is YCSB's 2147483647"),
    honoured("insertstart", "0", "the number of the first record to load"),
    honoured("insertcount", "recordcount - insertstart", "records to load"),
    honoured("fieldcount", "10", "fields of a record"),
    honoured("fieldlength", "100", "bytes of a field, the longest where lengths vary"),
    honoured("minfieldlength", "1", "bytes of the shortest field, where lengths vary"),
    honoured("fieldlengthdistribution", "constant", "constant, uniform, zipfian or histogram"),
    honoured("fieldlengthhistogram", "hist.txt", "the file of the histogram distribution"),
    honoured("fieldnameprefix", "field", "field names, which dataintegrity puts into the values"),
    honoured("readallfields", "true", "a read or scan copies all fields, or one at random"),
    honoured("readallfieldsbyname", "false", "all fields are looked up one by one"),
    honoured("writeallfields", "false", "an update writes all fields, or one at random"),
    honoured(
        "dataintegrity",
        "false",
        "values follow from key and field; reads and scans are verified",
    ),
    honoured("readproportion", "0.95", "share of reads"),
    honoured("updateproportion", "0.05", "share of updates"),
    honoured("insertproportion", "0", "share of inserts"),
    honoured("scanproportion", "0", "share of scans: some records in the order of their keys"),
    honoured("readmodifywriteproportion", "0", "share of read-modify-writes"),
    honoured("deleteproportion", "0", "share of deletes (ours)"),
    honoured("minscanlength", "1", "records of the shortest scan, 1 or above"),
    honoured("maxscanlength", "1000", "records of the longest scan"),
    honoured("scanlengthdistribution", "uniform", "uniform or zipfian between the two"),
    honoured(
        "requestdistribution",
        "uniform",
        "uniform, zipfian (YCSB's), zipf (a true one, ours), hotspot, sequential, exponential \
         or latest",
    ),
    honoured("zipf.theta", "0.99", "the skew of requestdistribution=zipf, 0 or above (ours)"),
    honoured("hotspotdatafraction", "0.2", "the hot set's share of the records"),
    honoured("hotspotopnfraction", "0.8", "the hot set's share of the operations"),
    honoured(
        "hotspotrecords",
        "0",
        "records in the hot set; 0: as hotspotdatafraction says (ours)",
    ),
    honoured(
        "hotspotmoves",
        "0",
        "keys that a worker draws before the hot set moves on by its own size; 0: it stays (ours)",
    ),
    honoured("exponential.percentile", "95", "this percentage of the requests ..."),
    honoured("exponential.frac", "0.8571428571", "... goes to this fraction of the records"),
    honoured("insertorder", "hashed", "hashed or ordered key numbers"),
    honoured("zeropadding", "1", "digits of the key number, at least"),
    honoured("keyprefix", "user", "what stands before the key number (from go-ycsb)"),
    honoured("keytype", "string", "string: YCSB's key text; integer: the number in 8 bytes (ours)"),
    honoured("opspertransaction", "1", "operations in one transaction (ours)"),
    honoured("longtransactionproportion", "0", "share of long transactions (ours)"),
    honoured("opsperlongtransaction", "100", "operations in a long transaction (ours)"),
    honoured("readonlyview", "true", "a transaction of reads only runs as `Store::view` (ours)"),
    row(
        "core_workload_insertion_retry_limit",
        "0",
        "retries of a failed insert",
        Rule::Accepts(&["0"], RETRIES),
    ),
    row(
        "core_workload_insertion_retry_interval",
        "3",
        "seconds between them",
        Rule::Accepts(&["3"], RETRIES),
    ),
    row(
        "core_workload_insertion_keep_going_on_error",
        "false",
        "go on after a failed insert",
        Rule::Accepts(&["false"], "a store that fails to insert ends the run; leave it out"),
    ),
    row(
        "batch.size",
        "1",
        "operations of a batch (from go-ycsb)",
        Rule::Accepts(&["1"], "set opspertransaction for several operations in one transaction"),
    ),
    row(
        "dropdata",
        "false",
        "drop the data first (from go-ycsb)",
        Rule::Accepts(&["false"], FRESH),
    ),
    refused("db", "the database binding", "chronolith is the only engine; choose with --protocol"),
    refused("basicdb.verbose", "BasicDB prints its calls", BASIC_DB),
    refused("basicdb.simulatedelay", "BasicDB waits", BASIC_DB),
    refused("basicdb.randomizedelay", "BasicDB waits at random", BASIC_DB),
    refused("basicdb.count", "BasicDB counts its calls", BASIC_DB),
    refused("storageages", "ConstantOccupancyWorkload", OCCUPANCY),
    refused("disksize", "ConstantOccupancyWorkload", OCCUPANCY),
    refused("occupancy", "ConstantOccupancyWorkload", OCCUPANCY),
    refused("maxscanrate", "Bigtable", BIGTABLE),
    refused("scanoptimelimit", "Bigtable", BIGTABLE),
    refused("discardscannedrecord", "Bigtable", BIGTABLE),
    refused("columnfamily", "column stores", "a table has no column families; leave it out"),
];
