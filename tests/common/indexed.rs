//! A table with an index of each form, and what a transaction is shown of them.

use chronolith::protocol::Protocol;
use chronolith::{
    Error, Index, OrderedKey, OrderedTable, PrimaryKey, Store, Transaction, TransactionError,
    UniqueIndex,
};
use std::collections::BTreeMap;

/// A row, with a key for an index in which several rows may share one, and one for a unique index.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub city: Option<u64>,
    pub badge: Option<u64>,
    pub load: u64,
}

pub fn row(city: u64, badge: u64, load: u64) -> Row {
    Row { city: Some(city), badge: Some(badge), load }
}

/// A table of rows with an index of each form.
pub struct Indexed<P: Protocol> {
    pub rows: OrderedTable<u64, Row, P>,
    pub by_city: Index<u64, u64, Row, P>,
    pub by_badge: UniqueIndex<u64, u64, Row, P>,
}

impl<P: Protocol> Indexed<P> {
    pub fn new(store: &Store<P>) -> Self {
        let rows = store.ordered_table("rows").unwrap();
        let by_city = store.index(&rows, "by_city", |row: &Row| row.city).unwrap();
        let by_badge = store.unique_index(&rows, "by_badge", |row: &Row| row.badge).unwrap();
        Indexed { rows, by_city, by_badge }
    }
}

pub type Found<I, K> = Result<Vec<(I, K)>, TransactionError>;

/// The keys of what was found.
pub fn keys<'t, I, K, V>(
    found: impl Iterator<Item = Result<(&'t I, &'t K, &'t V), TransactionError>>,
) -> Found<I, K::Owned>
where
    I: OrderedKey + Clone,
    K: PrimaryKey + ?Sized,
    V: ?Sized + 't,
{
    found.map(|found| found.map(|(index, key, _)| (index.clone(), key.to_owned()))).collect()
}

pub fn not_unique() -> TransactionError {
    Error::NotUnique { index: "rows.by_badge".to_string() }.into()
}

/// What a transaction is shown of a table and its indexes. It is judged after the commit: under
/// some protocols what is seen before that need not have been there together.
pub struct Shown {
    pub rows: BTreeMap<u64, Row>,
    pub by_city: Vec<(u64, u64, Row)>,
    pub by_badge: Vec<(u64, u64, Row)>,
}

impl Shown {
    pub fn of<P: Protocol>(
        tx: &Transaction<'_, P>,
        indexed: &Indexed<P>,
    ) -> Result<Self, TransactionError> {
        let rows = tx.range(&indexed.rows, ..)?.map(|entry| entry.map(|(k, v)| (*k, v.clone())));
        let rows = rows.collect::<Result<_, _>>()?;
        let owned = |found: Result<(&u64, &u64, &Row), TransactionError>| {
            found.map(|(index, key, row)| (*index, *key, row.clone()))
        };
        let by_city = tx.range_by(&indexed.by_city, ..)?.map(owned).collect::<Result<_, _>>()?;
        let by_badge = tx.range_by(&indexed.by_badge, ..)?.map(owned).collect::<Result<_, _>>()?;
        Ok(Shown { rows, by_city, by_badge })
    }

    /// Each row is in each index once, under its present key, and no two have the same badge.
    pub fn agrees<P: Protocol>(&self) {
        let sorted = |key: fn(&Row) -> Option<u64>| {
            let rows = self.rows.iter();
            let mut sorted: Vec<_> =
                rows.filter_map(|(at, row)| Some((key(row)?, *at, row.clone()))).collect();
            sorted.sort_by_key(|(index, at, _)| (*index, *at));
            sorted
        };
        assert_eq!(self.by_city, sorted(|row| row.city), "{}", P::NAME);
        let badges = sorted(|row| row.badge);
        assert_eq!(self.by_badge, badges, "{}", P::NAME);
        assert!(badges.windows(2).all(|pair| pair[0].0 != pair[1].0), "{}: {badges:?}", P::NAME);
    }
}
