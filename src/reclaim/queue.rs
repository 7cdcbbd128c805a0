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

    /// All that wait, the first one first.
    #[inline]
    pub(crate) fn as_slice(&self) -> &[T] {
        &self.items[self.gone..]
    }

    #[inline]
    pub(crate) fn push(&mut self, item: T) {
        self.items.push(item);
    }

    /// Takes over all that is in `items`.
    #[inline]
    pub(crate) fn append(&mut self, items: &mut Vec<T>) {
        self.items.append(items);
    }

    /// Lets the first `count` go, or as many as there are.
    #[inline]
    pub(crate) fn advance(&mut self, count: usize) {
        self.gone += count.min(self.len());
        if self.gone >= GONE_MIN {
            self.clear_away();
        }
    }

    /// Takes the first one out.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let first = self.first().copied();
        self.advance(1);
        first
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
            let wait = queue.len();
            let tended = wait.min(round % 9);
            let slice = &queue.as_slice()[..tended];
            assert!(slice.iter().copied().eq(expected..expected + tended as u32));
            queue.advance(tended);
            expected += tended as u32;
            if let Some(popped) = queue.pop() {
                assert_eq!(popped, expected);
                expected += 1;
            }
        }
        while queue.pop().is_some() {}
        assert!(queue.first().is_none() && queue.items.len() <= GONE_MIN);
    }
}
