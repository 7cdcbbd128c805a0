//! When a view begins: with its first operation, which may be any, or with none at all.

#[macro_use]
mod common;

use chronolith::protocol::{self, Progress, Protocol, Visitor};
use chronolith::{AbortReason, Error, Store, TransactionError};

for_each_protocol! {
    fn the_first_operation_sees_what_was_committed_before_it<P>(store) {
        let table = store.ordered_table::<u64, u64>("t").unwrap();
        store.transact(|tx| tx.put(&table, 1, 0)).unwrap();
        // On one thread: a view that had begun would stand in the way of protocols that lock.
        let write = |value| store.transact(|tx| tx.put(&table, 1, value));
        let got = store.view(|view| {
            write(1)?;
            Ok(view.get(&table, &1)?.copied())
        });
        assert_eq!(got.unwrap(), Some(1), "{}", P::NAME);
        let batch = store.view(|view| {
            write(2)?;
            let mut found = [None];
            view.get_many(&table, &[&1], &mut found)?;
            Ok(found[0].copied())
        });
        assert_eq!(batch.unwrap(), Some(2), "{}", P::NAME);
        let walked = store.view(|view| {
            write(3)?;
            Ok(view.range(&table, ..)?.next().transpose()?.map(|(_, &value)| value))
        });
        assert_eq!(walked.unwrap(), Some(3), "{}", P::NAME);
    }

    fn a_thread_that_is_new_to_the_store_begins_no_sooner<P>(store) {
        let table = store.table::<u64, u64>("t").unwrap();
        let got = std::thread::scope(|scope| {
            let view = || store.view(|view| {
                store.transact(|tx| tx.put(&table, 1, 1))?;
                Ok(view.get(&table, &1)?.copied())
            });
            scope.spawn(view).join().unwrap()
        });
        assert_eq!(got.unwrap(), Some(1), "{}", P::NAME);
    }

    fn a_view_without_an_operation_commits<P>(store) {
        store.transact(|_| Ok(())).unwrap();
        let before = store.stats();
        assert_eq!(store.view(|_| Ok(7)).unwrap(), 7);
        let after = store.stats();
        assert_eq!(after.commits, before.commits + 1, "{}", P::NAME);
        assert_eq!(after.commits_read_only, before.commits_read_only + 1, "{}", P::NAME);
        assert_eq!(after.workers, before.workers, "{}", P::NAME);
    }

    fn what_a_view_returns_before_it_has_begun_is_final<P>(store) {
        let table = store.table::<u64, u64>("t").unwrap();
        store.transact(|tx| tx.put(&table, 1, 1)).unwrap();
        let rolled_back = store.view(|view| Err::<(), _>(view.rollback())).unwrap_err();
        assert_eq!(rolled_back.abort().map(|abort| abort.reason()), Some(AbortReason::User));
        let ended = store.view(|view| {
            let _ = (view.rollback(), view.rollback());
            view.get(&table, &1).map(|_| ())
        });
        assert_eq!(ended.unwrap_err(), TransactionError::Error(Error::Ended));

        let other = Store::builder().build_with::<P>().unwrap();
        other.transact(|_| Ok(())).unwrap();
        let foreign = other.view(|view| view.get(&table, &1).map(|_| ())).unwrap_err();
        assert_eq!(foreign, TransactionError::Error(Error::ForeignTable { table: "t".into() }));
        let written = store.view(|view| view.put(&table, 1, 2)).unwrap_err();
        assert_eq!(written, TransactionError::Error(Error::ReadOnly));
        assert_eq!(store.view(|view| Ok(view.get(&table, &1)?.copied())).unwrap(), Some(1));
    }

    fn a_panic_before_a_view_has_begun_leaves_nothing_open<P>(store) {
        let table = store.table::<u64, u64>("t").unwrap();
        store.transact(|tx| tx.put(&table, 1, 1)).unwrap();
        let view = std::panic::AssertUnwindSafe(|| {
            store.view(|_| -> Result<(), TransactionError> { panic!("the user's") })
        });
        std::panic::catch_unwind(view).unwrap_err();
        store.transact(|tx| tx.put(&table, 1, 2)).unwrap();
        assert_eq!(store.stats().workers, 1, "{}", P::NAME);
        assert_eq!(store.view(|view| Ok(view.get(&table, &1)?.copied())).unwrap(), Some(2));
    }

    fn a_view_within_a_view_has_a_worker_of_its_own<P>(store) {
        if P::PROGRESS == Progress::Blocking {
            // The outer one would wait for the inner one, and the thread with it.
            continue;
        }
        let table = store.table::<u64, u64>("t").unwrap();
        store.transact(|tx| tx.put(&table, 1, 1)).unwrap();
        let seen = store.view(|outer| {
            // It gets the worker that the thread had before.
            let inner = store.begin_view()?;
            let seen = outer.get(&table, &1)?.copied();
            store.transact(|tx| tx.put(&table, 1, 2))?;
            let both = (seen, inner.get(&table, &1)?.copied());
            inner.commit()?;
            Ok(both)
        });
        assert_eq!(seen.unwrap(), (Some(1), Some(1)), "{}", P::NAME);
        assert_eq!(store.stats().workers, 3, "{}", P::NAME);
    }
}

#[test]
fn a_view_counts_among_the_open_transactions() {
    let store = Store::new();
    let table = store.table::<u64, u64>("t").unwrap();
    store.transact(|tx| tx.put(&table, 1, 1)).unwrap();
    let mut open = Vec::new();
    let limit = loop {
        match store.begin_view() {
            Ok(view) => open.push(view),
            Err(error) => break error,
        }
    };
    assert_eq!(limit, TransactionError::Error(Error::OpenTransactions { max: open.len() }));
    let read = || store.view(|view| Ok(view.get(&table, &1)?.copied()));
    assert_eq!(read().unwrap_err(), limit);
    open.pop();
    assert_eq!(read().unwrap(), Some(1));
}
