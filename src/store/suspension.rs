//! The test of the progress guarantee: a thread is suspended at every step of a transaction in
//! turn, for as long as others need to show that they go on, or that they do not.
//!
//! Under a protocol that calls itself lock-free nobody may be held up at any step. One that calls
//! itself blocking has to show a step at which others are held up or give up with a conflict;
//! otherwise it declares too little. Either way everything goes on when the suspended thread does.

use super::{OrderedTable, RetryPolicy, Store, Table, Transaction};
use crate::error::TransactionError;
use crate::protocol::{self, Isolation, Progress, Protocol, Ranges, Visitor};
use crate::sync::step::{self, Step};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

const ACCOUNTS: u64 = 8;
const EACH: i64 = 1_000;
/// Far more than the work needs; reached only by a thread that waits for the suspended one.
const PATIENCE: Duration = Duration::from_secs(60);
/// After this others count as held up, under a protocol that says that it can.
const PATIENCE_BLOCKING: Duration = Duration::from_millis(100);
/// Retries after which a transaction under such a protocol counts as held up.
const RETRIES_BLOCKING: u32 = 20;
/// Rounds of work in which a suspended thread would have come by its step.
const ROUNDS_MAX: u64 = 2_000;

/// Keys of the ordered table, and the distance between those that come after one another.
const QUEUE: u64 = 1_024;
const QUEUE_STEP: u64 = 389;
/// Rounds that a key stays in it, and how many keys a range covers.
const QUEUE_ROUNDS: u64 = 200;
const QUEUE_RANGE: u64 = 16;

/// What every protocol comes by, if it has ranges; the others are those of some.
const COMMON: [Step; 13] = [
    Step::BeginPublished,
    Step::BeginDrawn,
    Step::PrepareVoted,
    Step::ReclaimRemove,
    Step::GrowPublished,
    Step::GrowCopy,
    Step::GrowSwitch,
    Step::RangeWalk,
    Step::OrderedEntered,
    Step::OrderedInsert,
    Step::OrderedFrozen,
    Step::OrderedIntent,
    Step::OrderedSwing,
];

type Outcome = Result<(), TransactionError>;

pub(super) struct Bank<P: Protocol> {
    store: Store<P>,
    accounts: Table<u64, i64, P>,
    /// Keys that come and go, so that the index grows and records are removed.
    visits: Table<u64, u64, P>,
    /// Keys that come anywhere and go, the same for all threads; unless the protocol has no ranges.
    queue: Option<OrderedTable<u64, u64, P>>,
}

impl<P: Protocol> Bank<P> {
    fn new() -> Self {
        let mut policy = RetryPolicy::default();
        if P::PROGRESS == Progress::Blocking {
            policy.retries_max = RETRIES_BLOCKING;
        }
        let store = Store::builder().shards(2).retry(policy).build_with().expect("two shards");
        let accounts = store.table("accounts").expect("a new table");
        let visits = store.table("visits").expect("a new table");
        let queue = (P::RANGES != Ranges::Unsupported)
            .then(|| store.ordered_table("queue").expect("a new table"));
        let bank = Bank { store, accounts, visits, queue };
        bank.store
            .transact(|tx| {
                (0..ACCOUNTS).try_for_each(|account| tx.put(&bank.accounts, account, EACH))
            })
            .expect("nobody else writes");
        bank
    }

    fn transfer(&self, from: u64, to: u64) -> Outcome {
        self.store.transact(|tx| {
            tx.update(&self.accounts, &from, |balance| balance - 1)?;
            tx.update(&self.accounts, &to, |balance| balance + 1)?;
            Ok(())
        })
    }

    /// A transaction that installs versions, finds that what it read has changed, and aborts;
    /// unless its protocol can still place it before its rival, which leaves the sum as it is. One
    /// thread steps through it and its rival, so this is for protocols that never wait.
    fn fail(&self, round: u64) -> Outcome {
        let doomed = self.store.begin()?;
        let written = doomed
            .get(&self.accounts, &0)
            .and_then(|_| doomed.update(&self.accounts, &1, |balance| balance + 1_000_000))
            .and_then(|_| doomed.update(&self.accounts, &3, |balance| balance - 1_000_000))
            .and_then(|_| doomed.insert(&self.visits, u64::MAX - round, 0))
            .and_then(|_| match &self.queue {
                Some(queue) => doomed.insert(queue, round * QUEUE_STEP % QUEUE, 0),
                None => Ok(false),
            });
        self.transfer(0, 2)?;
        // Others may have changed what it writes already; otherwise it finds out when it commits.
        let outcome = written.and_then(|_| doomed.commit());
        assert!(outcome.is_err() || P::NAME != protocol::NAMES[0], "what it read has changed");
        Ok(())
    }

    /// Sets an account to one more than another one, if nobody is in the way.
    fn follow(&self, to: u64, from: u64) -> Outcome {
        let tx = self.store.begin()?;
        let found = tx.get(&self.accounts, &from)?.copied().unwrap_or(0);
        tx.put(&self.accounts, to, found + 1)?;
        tx.commit()
    }

    /// Writes to account 1 in vain: a rival has overwritten that one, and account 0, which it has
    /// read before, so that there is no place for it before the rival and none after.
    fn fail_late(&self) -> Outcome {
        let doomed = self.store.begin()?;
        doomed.get(&self.accounts, &0)?;
        doomed.put(&self.accounts, 1, -EACH)?;
        let rival = self.store.begin()?;
        rival.update(&self.accounts, &0, |balance| balance - 1)?;
        rival.update(&self.accounts, &1, |balance| balance + 1)?;
        rival.commit()?;
        doomed.commit()
    }

    /// Everything a transaction can do, so that every step is reached.
    fn work(&self, thread: u64, round: u64) -> Outcome {
        self.transfer(round % ACCOUNTS, (round + 1) % ACCOUNTS)?;
        if P::PROGRESS == Progress::LockFree {
            self.fail(thread << 32 | round)?;
        }
        let key = thread << 32 | round;
        self.store.transact(|tx| tx.insert(&self.visits, key, round).map(|_| ()))?;
        if round.is_multiple_of(2) {
            self.store.transact(|tx| tx.remove(&self.visits, &key).map(|_| ()))?;
        }
        if let Some(queue) = &self.queue {
            self.work_in_order(queue, round)?;
        }
        self.audit()
    }

    /// Inserts, counts and removes keys of the ordered table, which are those of other threads too.
    fn work_in_order(&self, queue: &OrderedTable<u64, u64, P>, round: u64) -> Outcome {
        let key = round * QUEUE_STEP % QUEUE;
        self.store.transact(|tx| tx.insert(queue, key, round).map(|_| ()))?;
        self.store.transact(|tx| {
            let found = tx.range(queue, key..key + QUEUE_RANGE)?;
            let count = found.map(|entry| entry.map(|_| 1)).sum::<Result<u64, _>>()?;
            tx.put(&self.visits, u64::MAX / 2 - key, count)
        })?;
        if let Some(round) = round.checked_sub(QUEUE_ROUNDS) {
            self.store
                .transact(|tx| tx.remove(queue, &(round * QUEUE_STEP % QUEUE)).map(|_| ()))?;
        }
        Ok(())
    }

    fn audit(&self) -> Outcome {
        let total = self.store.view(|tx| self.count(tx, 0..ACCOUNTS))?;
        assert_eq!(total, ACCOUNTS as i64 * EACH);
        Ok(())
    }

    /// The sum of these accounts.
    fn count(
        &self,
        tx: &Transaction<'_, P>,
        accounts: impl Iterator<Item = u64>,
    ) -> Result<i64, TransactionError> {
        let mut total = 0;
        for account in accounts {
            total += tx.get(&self.accounts, &account)?.copied().unwrap_or(0);
        }
        Ok(total)
    }
}

/// A thread that has stopped at a step.
struct Suspended {
    thread: JoinHandle<()>,
    let_go: Sender<()>,
}

impl Suspended {
    /// Starts a thread that works until it reaches `at` and stays there until it is let go; then it
    /// finishes that work and ends. `None` if it never reaches it.
    fn new<P: Protocol>(
        bank: &Arc<Bank<P>>,
        at: Step,
        work: impl Fn(&Bank<P>, u64) -> Outcome + Send + 'static,
    ) -> Option<Self> {
        let bank = Arc::clone(bank);
        let (reached, has_reached) = channel();
        let (let_go, go_on) = channel::<()>();
        let thread = std::thread::spawn(move || {
            let arrived = Rc::new(Cell::new(false));
            let seen = arrived.clone();
            step::on(move |step| {
                if step == at && !seen.replace(true) {
                    reached.send(()).expect("the test waits");
                    // Also if the test has failed and is gone.
                    let _ = go_on.recv();
                }
            });
            for round in (0..ROUNDS_MAX).take_while(|_| !arrived.get()) {
                expect_abort_if_blocking::<P>(work(&bank, round));
            }
            // Drops the hook, and with it the sender that says whether it was called.
            step::on(|_| {});
        });
        match has_reached.recv_timeout(PATIENCE) {
            Ok(()) => Some(Suspended { thread, let_go }),
            Err(RecvTimeoutError::Disconnected) => {
                thread.join().expect("the thread ends well");
                None
            }
            Err(RecvTimeoutError::Timeout) => panic!("{}: {at:?}: no end", P::NAME),
        }
    }

    fn go_on(self) {
        self.let_go.send(()).expect("it is still suspended");
        self.thread.join().expect("the suspended thread ends well");
    }
}

/// Fails the test on anything but a conflict.
fn expect_abort(outcome: Outcome) {
    if let Err(error) = outcome {
        assert!(error.abort().is_some(), "{error}");
    }
}

fn expect_abort_if_blocking<P: Protocol>(outcome: Outcome) {
    if let Err(error) = outcome {
        let gave_up = P::PROGRESS == Progress::Blocking && error.abort().is_some();
        assert!(gave_up, "{}: {error}", P::NAME);
    }
}

/// Starts two threads that work; each says at the end whether it got through.
fn start_others<P: Protocol>(bank: &Arc<Bank<P>>) -> (Vec<JoinHandle<()>>, Receiver<bool>) {
    let rounds = match P::PROGRESS {
        Progress::LockFree if P::NAME == protocol::NAMES[0] => 1_000,
        Progress::LockFree => 100,
        Progress::Blocking => 20,
    };
    let (done, is_done) = channel();
    let others = (2..4).map(|thread| {
        let (bank, done) = (Arc::clone(bank), done.clone());
        std::thread::spawn(move || {
            let outcome = (0..rounds).try_for_each(|round| bank.work(thread, round));
            let through = outcome.is_ok();
            expect_abort_if_blocking::<P>(outcome);
            // The test may have seen enough.
            let _ = done.send(through);
        })
    });
    (others.collect(), is_done)
}

/// Whether others were held up while a thread was suspended there; `None` if no thread comes by.
fn holds_up<P: Protocol>(at: Step) -> Option<bool> {
    let bank = Arc::new(Bank::<P>::new());
    let suspended = Suspended::new(&bank, at, |bank, round| bank.work(1, round))?;
    let (others, is_done) = start_others(&bank);
    let patience = if P::PROGRESS == Progress::LockFree { PATIENCE } else { PATIENCE_BLOCKING };
    let mut held_up = false;
    for _ in &others {
        match is_done.recv_timeout(patience) {
            Ok(through) => held_up |= !through,
            Err(RecvTimeoutError::Timeout) => held_up = true,
            Err(RecvTimeoutError::Disconnected) => panic!("a thread failed; see above"),
        }
        assert!(
            !held_up || P::PROGRESS == Progress::Blocking,
            "{}: a thread waits for one suspended at {at:?}",
            P::NAME
        );
    }
    suspended.go_on();
    for other in others {
        other.join().expect("the others end well");
    }
    bank.work(1, ROUNDS_MAX).expect("nobody is left to wait for");
    Some(held_up)
}

struct ProgressIsAsDeclared;

impl Visitor for ProgressIsAsDeclared {
    type Output = ();
    fn visit<P: Protocol>(self) {
        let (mut held_up_at, mut reached) = (Vec::new(), Vec::new());
        for at in Step::ALL {
            if let Some(held_up) = holds_up::<P>(at) {
                reached.push(at);
                held_up_at.extend(held_up.then_some(at));
            }
        }
        println!("{}, {}: {held_up_at:?} of {reached:?}", P::NAME, P::PROGRESS.name());
        let expected: &[Step] = if P::NAME == protocol::NAMES[0] { &Step::ALL } else { &COMMON };
        for step in expected {
            assert!(reached.contains(step), "{}: {step:?} was never reached", P::NAME);
        }
        let blocks = !held_up_at.is_empty();
        assert_eq!(blocks, P::PROGRESS == Progress::Blocking, "{}: it never blocks", P::NAME);
    }
}

#[test]
fn a_suspended_thread_holds_up_nobody_or_the_protocol_says_so() {
    let _nothing_armed = crate::sync::fault::Armed::new(None);
    for name in protocol::NAMES {
        protocol::dispatch(name, ProgressIsAsDeclared).expect("a registered protocol");
    }
}

/// A view sees all of a suspended transfer or nothing: one that begins and ends meanwhile, and one
/// that ends after it. What they saw otherwise.
fn view_across<P: Protocol>(at: Step) -> Result<(), String> {
    let bank = Arc::new(Bank::<P>::new());
    // From an account that is read before the transfer goes on to one that is read after.
    let Some(suspended) = Suspended::new(&bank, at, |bank, _| bank.transfer(0, 1)) else {
        return Ok(());
    };
    let view = bank.store.begin_view().map_err(|error| error.to_string())?;
    let early = bank.count(&view, (0..ACCOUNTS).step_by(2));
    let during = bank.store.view(|tx| bank.count(tx, 0..ACCOUNTS));
    suspended.go_on();
    let late = bank.count(&view, (1..ACCOUNTS).step_by(2));
    let across = early.and_then(|early| Ok(early + late?));
    let across = across.and_then(|total| view.commit().map(|()| total));
    for (total, when) in [(during, "during"), (across, "across")] {
        // Whoever aborts has seen nothing.
        if total.is_ok_and(|total| total != ACCOUNTS as i64 * EACH) {
            return Err(format!("{}: {at:?}: a view {when} the transfer counts wrong", P::NAME));
        }
    }
    Ok(())
}

/// Two transactions that each read what the other one writes, the first of them suspended at a
/// step of its commit: not both commit without having seen the other.
fn skew_across<P: Protocol>(at: Step) -> Result<(), String> {
    let bank = Arc::new(Bank::<P>::new());
    let follow = |bank: &Bank<P>, _| {
        expect_abort(bank.follow(0, 1));
        Ok(())
    };
    let Some(suspended) = Suspended::new(&bank, at, follow) else { return Ok(()) };
    expect_abort(bank.follow(1, 0));
    suspended.go_on();
    match bank.store.view(|tx| bank.count(tx, 0..2)) {
        Ok(total) if total == 2 * (EACH + 1) => {
            Err(format!("{}: {at:?}: neither of two has seen the other", P::NAME))
        }
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// Nobody sees what a transaction has written that is suspended while it takes that back.
fn view_across_an_abort<P: Protocol>() -> Result<(), String> {
    let bank = Arc::new(Bank::<P>::new());
    let fail = |bank: &Bank<P>, round| {
        if round == 0 {
            expect_abort(bank.fail_late());
        }
        Ok(())
    };
    let Some(suspended) = Suspended::new(&bank, Step::AbortUnlink, fail) else { return Ok(()) };
    let look = || {
        let view = bank.store.begin_view()?;
        let balance = bank.count(&view, 1..2)?;
        view.commit().map(|()| balance)
    };
    let seen = look();
    suspended.go_on();
    match seen {
        Ok(balance) if balance != EACH + 1 => {
            Err(format!("{}: {balance} was seen, which nobody has committed", P::NAME))
        }
        // Whoever aborts has seen nothing.
        _ => Ok(()),
    }
}

/// What others see and do while a transaction is suspended at any step of its commit is right.
pub(super) fn suspended_commits<P: Protocol>() -> Result<(), String> {
    let steps = [
        Step::PrepareInstalled,
        Step::PrepareDrawn,
        Step::PrepareVoted,
        Step::DecideCommitted,
        Step::FinishStamped,
    ];
    if P::PROGRESS == Progress::LockFree {
        // Under the others the view would wait for the transfer and the transfer for the view.
        steps.into_iter().try_for_each(view_across::<P>)?;
    }
    if P::TAKES_LOCKS {
        // The others would only wait.
        return Ok(());
    }
    if P::ISOLATION == Isolation::Serializable {
        steps.into_iter().try_for_each(skew_across::<P>)?;
    }
    view_across_an_abort::<P>()
}

struct SuspendedCommits;

impl Visitor for SuspendedCommits {
    type Output = ();
    fn visit<P: Protocol>(self) {
        if let Err(complaint) = suspended_commits::<P>() {
            panic!("{complaint}");
        }
    }
}

#[test]
fn a_suspended_commit_is_seen_as_a_whole_or_not_at_all() {
    let _nothing_armed = crate::sync::fault::Armed::new(None);
    for name in protocol::NAMES {
        protocol::dispatch(name, SuspendedCommits).expect("a registered protocol");
    }
}
