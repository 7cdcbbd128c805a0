//! A queue whose waiting entries lie in one slice: they are appended in batches and tended in
//! batches, with no ring to wrap around.

/// First in, first out.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    items: Vec<T>,
    /// Entries that have left; they are cleared away when they are as many as those that wait.
    gone: usize,
}

/// So many entries may have left before it is worth looking whether to clear them away.
const GONE_MIN: usize = 64;

impl<T: Copy> Queue<T> {
    pub(crate) fn new() -> Self {
        Queue { items: Vec::new(), gone: 0 }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.items.len() - self.gone
    }

    #[inline]
    pub(crate) fn first(&self) -> Option<&T> {
        self.items.get(self.gone)
    }

    #[inline]
    pub(crate) fn push(&mut self, item: T) {
        self.items.push(item);
    }

    /// Takes over all that is in `items`.
    #[inline]
    pub(crate) fn append(&mut self, items: &mut Vec<T>) {
        if self.gone >= GONE_MIN {
            self.clear_away();
        }
        self.items.append(items);
    }

    /// Takes the first one out, if it is as wanted.
    #[inline]
    pub(crate) fn pop_if(&mut self, wanted: impl FnOnce(&T) -> bool) -> Option<T> {
        let first = *self.first().filter(|first| wanted(first))?;
        self.gone += 1;
        Some(first)
    }

    #[inline(never)]
    fn clear_away(&mut self) {
        if self.gone >= self.len() {
            self.items.drain(..self.gone);
            self.gone = 0;
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_comes_first_goes_first_and_leaves_no_room_taken() {
        let mut queue = Queue::new();
        let mut next = 0..u32::MAX;
        let mut expected = 0;
        for round in 0..10_000 {
            let mut batch: Vec<u32> = next.by_ref().take(round % 7).collect();
            queue.append(&mut batch);
            assert!(batch.is_empty());
            queue.push(next.next().expect("endless"));
            for _ in 0..round % 9 {
                assert_eq!(queue.pop_if(|first| *first == u32::MAX), None);
                if let Some(popped) = queue.pop_if(|_| true) {
                    assert_eq!(popped, expected);
                    expected += 1;
                }
            }
        }
        assert!(queue.len() > 0 && expected > 10_000, "some have gone and some wait");
        while queue.pop_if(|_| true).is_some() {}
        queue.append(&mut vec![0]);
        assert!(queue.len() == 1 && queue.items.len() <= GONE_MIN);
    }
}
