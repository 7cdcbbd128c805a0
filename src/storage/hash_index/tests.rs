//! Single cases of the hash index that no public operation can bring about at will.

use super::*;
use crate::storage::NoWords;
use std::sync::Mutex;
use std::sync::mpsc::channel;

/// A copier that stops before it freezes a bucket, and goes on when everything is long copied,
/// must not bring back a record that was removed meanwhile.
#[test]
fn a_late_copier_brings_back_no_removed_record() {
    const HASH: u64 = 3;
    let index = HashIndex::<NoWords>::new().expect("memory");
    let record = Record::<NoWords>::new(std::ptr::null_mut(), HASH, 0, 0);
    let record = std::ptr::from_ref(&record).cast_mut();
    let inserted = index.insert(record, HASH, |_| false, &mut drop);
    assert!(matches!(inserted, Inserted::Yes));
    assert!(index.begin_growth(index.current()));
    let replaced = Mutex::new(None);
    let mut retire = |array| *replaced.lock().expect("no panic") = Some(array);
    let (stopped, has_stopped) = channel();
    let (go_on, told) = channel::<()>();
    std::thread::scope(|scope| {
        let (index, mut late_retire) = (&index, retire);
        let late = scope.spawn(move || {
            let mut stops = true;
            step::on(move |step| {
                if step == Step::GrowCopy && std::mem::take(&mut stops) {
                    stopped.send(()).expect("the test waits");
                    told.recv().expect("the test lets it go on");
                }
            });
            index.assist(&mut late_retire);
        });
        has_stopped.recv().expect("it copies");
        index.finish_copy(&mut retire);
        assert!(replaced.lock().expect("no panic").is_some(), "somebody else has finished");
        // A copier may be left, so this has to wait until the old array is freed.
        let removed = index.remove(record, HASH);
        go_on.send(()).expect("it waits");
        late.join().expect("no panic");
        let freed = replaced.lock().expect("no panic").take();
        drop(freed);
        index.settle();
        assert!(removed || index.remove(record, HASH), "nothing is in the way any more");
    });
    assert!(matches!(index.find(HASH, |_| true), Lookup::Absent(_)), "it is back");
}
