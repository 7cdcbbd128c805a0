//! The core workload's parameters, read from its properties and checked.

use super::record::Layout;
use crate::workload::common::{PROPORTION_MAX, read_shares};
use crate::workload::generator::{
    Distribution, HotSet, KeySpace, LengthHistogram, Lengths, Shape, Shares,
};
use crate::workload::{Properties, PropertyError};
use std::path::Path;

/// The most fields of a record.
const FIELDS_MAX: u64 = 1 << 20;
/// The longest field.
const FIELD_LEN_MAX_BYTES: u64 = 1 << 24;
/// The longest record: what the store takes as one value.
const RECORD_LEN_MAX_BYTES: u64 = crate::limits::PAYLOAD_LEN_MAX_BYTES as u64;
/// The most digits of a key number.
const ZERO_PADDING_MAX: u64 = 1_000;
/// The most records of one scan.
const SCAN_LEN_MAX: u64 = 1 << 24;
/// The most operations of one transaction.
const OPERATIONS_MAX: u64 = 10_000;
/// What YCSB takes a recordcount of 0 for.
const RECORDS_OF_ZERO: u64 = i32::MAX as u64;

/// One operation of the core workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Read,
    Update,
    Insert,
    Scan,
    ReadModifyWrite,
    Delete,
}

impl Verb {
    pub(super) const COUNT: usize = 6;
    /// In YCSB's order of choice, which decides the verb of a draw.
    pub(super) const ALL: [Verb; Verb::COUNT] =
        [Verb::Read, Verb::Update, Verb::Insert, Verb::Scan, Verb::ReadModifyWrite, Verb::Delete];

    fn property(self) -> (&'static str, f64) {
        match self {
            Verb::Read => ("readproportion", 0.95),
            Verb::Update => ("updateproportion", 0.05),
            Verb::Insert => ("insertproportion", 0.0),
            Verb::Scan => ("scanproportion", 0.0),
            Verb::ReadModifyWrite => ("readmodifywriteproportion", 0.0),
            Verb::Delete => ("deleteproportion", 0.0),
        }
    }

    /// Whether the operation writes nothing.
    #[inline]
    pub(super) fn only_reads(self) -> bool {
        matches!(self, Verb::Read | Verb::Scan)
    }
}

/// How often each verb is chosen.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Mix(Shares);

impl Mix {
    fn read(properties: &Properties) -> Result<Self, PropertyError> {
        read_shares(properties, &Verb::ALL.map(Verb::property)).map(Mix)
    }

    pub(super) fn share(&self, verb: Verb) -> f64 {
        self.0.share(verb as usize)
    }

    /// The verb for the uniform draw `u` in [0, 1).
    #[inline]
    pub(super) fn choose(&self, u: f64) -> Verb {
        Verb::ALL[self.0.choose(u)]
    }
}

/// How the key of a record number looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyFormat {
    pub(super) hashed: bool,
    pub(super) zero_padding: usize,
    pub(super) prefix: String,
    /// Keys are numbers in eight bytes, not texts.
    pub(super) integer: bool,
}

/// How many operations a transaction has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sizes {
    /// Operations of a usual transaction.
    pub(super) usual: u64,
    /// The share of long transactions.
    pub(super) long_share: f64,
    /// Operations of a long one.
    pub(super) long: u64,
}

impl Sizes {
    fn read(properties: &Properties) -> Result<Self, PropertyError> {
        Ok(Sizes {
            usual: properties.whole("opspertransaction", 1, 1, OPERATIONS_MAX)?,
            long_share: properties.real("longtransactionproportion", 0.0, 0.0, 1.0)?,
            long: properties.whole("opsperlongtransaction", 100, 1, OPERATIONS_MAX)?,
        })
    }

    /// Operations of a transaction, on average.
    pub(super) fn mean(self) -> f64 {
        let Sizes { usual, long_share, long } = self;
        usual as f64 * (1.0 - long_share) + long as f64 * long_share
    }
}

/// Everything that the property files say about the workload.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) table: String,
    pub(super) layout: Layout,
    pub(super) lengths: Lengths,
    pub(super) field_prefix: String,
    pub(super) read_all: bool,
    pub(super) read_by_name: bool,
    pub(super) write_all: bool,
    pub(super) integrity: bool,
    pub(super) mix: Mix,
    /// How many records a scan reads.
    pub(super) scans: Lengths,
    pub(super) shape: Shape,
    pub(super) keys: KeyFormat,
    pub(super) sizes: Sizes,
    pub(super) read_only_view: bool,
    /// Inserts that operationcount announces.
    pub(super) inserts_expected: u64,
    /// Whether every key that can be asked for exists, unless the store lost it.
    pub(super) keys_all_present: bool,
}

impl Config {
    pub(super) fn read(properties: &Properties) -> Result<Self, PropertyError> {
        let mix = Mix::read(properties)?;
        let lengths = read_lengths(properties)?;
        let fields = properties.whole("fieldcount", 10, 1, FIELDS_MAX)?;
        let fixed = match lengths {
            Lengths::Constant(length) => Some(length as usize),
            _ => None,
        };
        let layout = Layout::new(fields as usize, fixed);
        let longest = layout.record_len(lengths.max() as usize) as u64;
        if longest > RECORD_LEN_MAX_BYTES {
            return Err(PropertyError::new(format!(
                "a record of {fields} fields would have {longest} bytes, and the store takes \
                 {RECORD_LEN_MAX_BYTES}: lower fieldcount or fieldlength"
            )));
        }
        let keys = read_key_format(properties)?;
        let integrity = properties.flag("dataintegrity", false)?;
        if integrity && (fixed.is_none() || keys.integer) {
            return Err(PropertyError::new(
                "dataintegrity=true needs fieldlengthdistribution=constant and keytype=string",
            ));
        }
        let space = read_key_space(properties)?;
        let operation_count = properties.whole("operationcount", 0, 0, i64::MAX as u64)?;
        let raw_insert_share = properties.real("insertproportion", 0.0, 0.0, PROPORTION_MAX)?;
        let expected = (operation_count as f64 * raw_insert_share * 2.0) as u64;
        let whole = space.first == 0 && space.count == space.records;
        Ok(Config {
            table: properties.get("table").unwrap_or("usertable").to_owned(),
            layout,
            field_prefix: properties.get("fieldnameprefix").unwrap_or("field").to_owned(),
            read_all: properties.flag("readallfields", true)?,
            read_by_name: properties.flag("readallfieldsbyname", false)?,
            write_all: properties.flag("writeallfields", false)?,
            integrity,
            scans: read_scan_lengths(properties)?,
            shape: Shape::new(read_distribution(properties, expected)?, space),
            keys,
            sizes: Sizes::read(properties)?,
            read_only_view: properties.flag("readonlyview", true)?,
            inserts_expected: (operation_count as f64 * mix.share(Verb::Insert)) as u64,
            keys_all_present: whole && mix.share(Verb::Delete) == 0.0,
            lengths,
            mix,
        })
    }

    /// Whether records are also asked for in the order of their keys.
    pub(super) fn has_scans(&self) -> bool {
        self.mix.share(Verb::Scan) > 0.0
    }

    /// Whether an update need not look at the record it replaces.
    pub(super) fn updates_blindly(&self) -> bool {
        // Where records are deleted, an update must not bring one back.
        self.write_all && self.mix.share(Verb::Delete) == 0.0
    }
}

fn read_key_format(properties: &Properties) -> Result<KeyFormat, PropertyError> {
    Ok(KeyFormat {
        hashed: properties.word("insertorder", "hashed", &["hashed", "ordered"])? == "hashed",
        zero_padding: properties.whole("zeropadding", 1, 0, ZERO_PADDING_MAX)? as usize,
        prefix: properties.get("keyprefix").unwrap_or("user").to_owned(),
        integer: properties.word("keytype", "string", &["string", "integer"])? == "integer",
    })
}

fn read_lengths(properties: &Properties) -> Result<Lengths, PropertyError> {
    let kinds = ["constant", "uniform", "zipfian", "histogram"];
    let kind = properties.word("fieldlengthdistribution", "constant", &kinds)?;
    let max = properties.whole("fieldlength", 100, 0, FIELD_LEN_MAX_BYTES)?;
    let min = properties.whole("minfieldlength", 1, 0, FIELD_LEN_MAX_BYTES)?;
    if matches!(kind, "uniform" | "zipfian") {
        check_ends(("minfieldlength", min), ("fieldlength", max))?;
    }
    Ok(match kind {
        "constant" => Lengths::Constant(max),
        "uniform" => Lengths::Uniform(min, max),
        "zipfian" => Lengths::zipfian(min, max),
        _ => {
            let path = properties.get("fieldlengthhistogram").unwrap_or("hist.txt");
            let histogram = LengthHistogram::read(Path::new(path));
            let histogram = histogram
                .map_err(|error| PropertyError::new(format!("fieldlengthhistogram: {error}")))?;
            let lengths = Lengths::Histogram(histogram);
            if lengths.max() > FIELD_LEN_MAX_BYTES {
                let sentence = format!("with fields of {FIELD_LEN_MAX_BYTES} bytes at most");
                return Err(properties.must_be("fieldlengthhistogram", &sentence));
            }
            lengths
        }
    })
}

/// Refuses a shortest length above the longest one.
fn check_ends((low, min): (&str, u64), (high, max): (&str, u64)) -> Result<(), PropertyError> {
    if min <= max {
        return Ok(());
    }
    Err(PropertyError::new(format!(
        "{low}={min} is above {high}={max}: lower the one or raise the other"
    )))
}

fn read_key_space(properties: &Properties) -> Result<KeySpace, PropertyError> {
    let max = i64::MAX as u64;
    let records = match properties.whole("recordcount", 0, 0, max)? {
        0 => RECORDS_OF_ZERO,
        records => records,
    };
    let first = properties.whole("insertstart", 0, 0, max)?;
    let count = properties.whole("insertcount", records.saturating_sub(first), 0, max)?;
    if count == 0 {
        return Err(PropertyError::new(format!(
            "nothing to load: recordcount={records}, insertstart={first}, insertcount={count}; \
             raise recordcount or lower insertstart"
        )));
    }
    // Neither exceeds half of the range, so the sum does not overflow.
    if first + count > records {
        return Err(PropertyError::new(format!(
            "insertstart={first} and insertcount={count} go beyond recordcount={records}: \
             raise recordcount"
        )));
    }
    Ok(KeySpace { first, count, records })
}

fn read_distribution(
    properties: &Properties,
    expected_inserts: u64,
) -> Result<Distribution, PropertyError> {
    let words = ["uniform", "zipfian", "zipf", "hotspot", "sequential", "exponential", "latest"];
    // The parameters of all are checked, whichever is chosen: none may be nonsense unnoticed.
    let theta = properties.real("zipf.theta", 0.99, 0.0, 1_000.0)?;
    let data_fraction = properties.real("hotspotdatafraction", 0.2, 0.0, 1.0)?;
    let size = match properties.whole("hotspotrecords", 0, 0, i64::MAX as u64)? {
        0 => HotSet::Fraction(data_fraction),
        records => HotSet::Records(records),
    };
    let draws_per_move = properties.whole("hotspotmoves", 0, 0, i64::MAX as u64)?;
    let operation_fraction = properties.real("hotspotopnfraction", 0.8, 0.0, 1.0)?;
    // Below 1 % of the requests in the data set nearly every draw would have to be repeated.
    let percentile = properties.real("exponential.percentile", 95.0, 1.0, 99.999_999)?;
    let fraction = properties.real("exponential.frac", 0.857_142_857_1, 1e-9, 1.0)?;
    Ok(match properties.word("requestdistribution", "uniform", &words)? {
        "uniform" => Distribution::Uniform,
        "zipfian" => Distribution::Zipfian { expected_inserts },
        "zipf" => Distribution::Zipf { theta },
        "hotspot" => Distribution::Hotspot { size, operation_fraction, draws_per_move },
        "sequential" => Distribution::Sequential,
        "exponential" => Distribution::Exponential { percentile, fraction },
        _ => Distribution::Latest,
    })
}

/// How long scans are. Checked without scans too: a value that could never be right is refused.
fn read_scan_lengths(properties: &Properties) -> Result<Lengths, PropertyError> {
    let min = properties.whole("minscanlength", 1, 1, SCAN_LEN_MAX)?;
    let max = properties.whole("maxscanlength", min.max(1_000), 1, SCAN_LEN_MAX)?;
    check_ends(("minscanlength", min), ("maxscanlength", max))?;
    Ok(match properties.word("scanlengthdistribution", "uniform", &["uniform", "zipfian"])? {
        "uniform" => Lengths::Uniform(min, max),
        _ => Lengths::zipfian(min, max),
    })
}
