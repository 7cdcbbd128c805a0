//! Terminals: each has a home district, a deck of cards, and, if asked for, a user who keys and
//! thinks.

use super::config::Config;
use crate::workload::{Purpose, Random, Seed};
use rand::RngExt;
use std::time::{Duration, Instant};

/// The kinds of transaction, in the order of the deck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    NewOrder,
    Payment,
    OrderStatus,
    Delivery,
    StockLevel,
}

impl Kind {
    pub(super) const ALL: [Kind; 5] =
        [Kind::NewOrder, Kind::Payment, Kind::OrderStatus, Kind::Delivery, Kind::StockLevel];

    /// How long the user types (clause 5.2.5.7).
    fn keying(self) -> Duration {
        Duration::from_secs([18, 3, 2, 2, 2][self as usize])
    }

    /// How long the user thinks, on average.
    fn mean_think_seconds(self) -> f64 {
        [12.0, 12.0, 10.0, 5.0, 5.0][self as usize]
    }

    /// How long the user thinks this time: negative exponential, cut at ten times the mean
    /// (clause 5.2.5.4).
    fn think(self, random: &mut Random) -> Duration {
        let mean = self.mean_think_seconds();
        let draw: f64 = random.random();
        // The draw is below 1, so the logarithm is finite.
        Duration::from_secs_f64((-(1.0 - draw).ln() * mean).min(10.0 * mean))
    }
}

/// One terminal.
#[derive(Debug)]
pub(super) struct Terminal {
    pub(super) warehouse: u32,
    pub(super) district: u32,
    /// The random numbers of its requests.
    pub(super) random: Random,
    /// The cards that are left, the next one last.
    deck: Vec<Kind>,
    /// When its next request is due.
    due: Instant,
}

impl Terminal {
    fn new(home: (u32, u32), seed: Seed, number: u64) -> Self {
        Terminal {
            warehouse: home.0,
            district: home.1,
            random: seed.stream(Purpose::Keys, number),
            deck: Vec::new(),
            due: Instant::now(),
        }
    }

    /// Takes the next card; a deck that is used up is made again and shuffled.
    fn draw(&mut self, cards: &[u32; 5]) -> Kind {
        if self.deck.is_empty() {
            for (kind, count) in Kind::ALL.into_iter().zip(cards) {
                self.deck.extend((0..*count).map(|_| kind));
            }
            // Fisher and Yates's shuffle.
            for last in (1..self.deck.len()).rev() {
                self.deck.swap(last, self.random.random_range(0..=last));
            }
        }
        self.deck.pop().expect("a deck has cards: the configuration checks it")
    }

    fn next(&self) -> Option<Kind> {
        self.deck.last().copied()
    }
}

/// The terminals of one worker.
#[derive(Debug)]
pub(super) struct Terminals {
    terminals: Vec<Terminal>,
    cards: [u32; 5],
    think: bool,
    current: usize,
}

impl Terminals {
    /// The share of worker `index` of `workers` in the ten terminals of every warehouse. Workers
    /// get neighbours, so each has as few warehouses as possible; if there are more workers than
    /// terminals, several sit at one.
    pub(super) fn new(config: &Config, seed: Seed, index: usize, workers: usize) -> Self {
        let homes: Vec<(u32, u32)> = config.scale.districts().collect();
        let make = |number: usize| Terminal::new(homes[number % homes.len()], seed, number as u64);
        let numbers = match workers <= homes.len() {
            true => homes.len() * index / workers..homes.len() * (index + 1) / workers,
            false => index..index + 1,
        };
        let mut terminals = Terminals {
            terminals: numbers.map(make).collect(),
            cards: config.deck,
            think: config.think,
            current: 0,
        };
        if config.think {
            (0..terminals.terminals.len()).for_each(|terminal| terminals.release(terminal));
        }
        terminals.current = terminals.terminals.len() - 1;
        terminals
    }

    /// Chooses the terminal that sends the next request, and what it sends.
    pub(super) fn choose(&mut self) -> (Kind, &mut Terminal) {
        self.current = match self.think {
            true => self.earliest(),
            false => (self.current + 1) % self.terminals.len(),
        };
        let terminal = &mut self.terminals[self.current];
        (terminal.draw(&self.cards), terminal)
    }

    fn earliest(&self) -> usize {
        let dues = self.terminals.iter().enumerate().map(|(at, terminal)| (terminal.due, at));
        dues.min().map_or(0, |(_, at)| at)
    }

    /// How long until the chosen request is due.
    pub(super) fn pause(&self) -> Duration {
        match self.think {
            true => self.terminals[self.current].due.saturating_duration_since(Instant::now()),
            false => Duration::ZERO,
        }
    }

    /// The chosen request has been answered: its user thinks about it and then keys the next one.
    pub(super) fn answered(&mut self, kind: Kind) {
        if self.think {
            let terminal = &mut self.terminals[self.current];
            let think = kind.think(&mut terminal.random);
            terminal.rest(&self.cards, think);
        }
    }

    /// A terminal begins as if it had just been answered.
    fn release(&mut self, terminal: usize) {
        let terminal = &mut self.terminals[terminal];
        let think = Kind::NewOrder.think(&mut terminal.random);
        terminal.rest(&self.cards, think);
    }
}

impl Terminal {
    /// Thinks, then keys what comes next.
    fn rest(&mut self, cards: &[u32; 5], think: Duration) {
        let next = match self.next() {
            Some(next) => next,
            None => {
                let next = self.draw(cards);
                self.deck.push(next);
                next
            }
        };
        self.due = Instant::now() + think + next.keying();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Properties;

    fn config(text: &str) -> Config {
        let mut properties = Properties::new();
        properties.read_bytes(text.as_bytes(), "test").expect("a valid text");
        Config::read(&properties).expect("a valid configuration")
    }

    #[test]
    fn every_deck_has_the_standards_mix_in_another_order() {
        let config = config("warehouses=1");
        let mut terminals = Terminals::new(&config, Seed::new(1), 0, 10);
        let mut orders = Vec::new();
        for _ in 0..20 {
            let deck: Vec<usize> = (0..100).map(|_| terminals.choose().0 as usize).collect();
            let mut counts = [0; 5];
            deck.iter().for_each(|kind| counts[*kind] += 1);
            assert_eq!(counts, [45, 43, 4, 4, 4]);
            orders.push(deck);
        }
        orders.dedup();
        assert_eq!(orders.len(), 20);
    }

    #[test]
    fn every_terminal_has_one_worker_and_its_own_district() {
        for (warehouses, workers) in [(1, 1), (4, 2), (3, 7), (1, 10), (2, 19)] {
            let config = config(&format!("warehouses={warehouses}"));
            let mut homes = Vec::new();
            for index in 0..workers {
                let terminals = Terminals::new(&config, Seed::new(1), index, workers).terminals;
                homes.extend(terminals.iter().map(|t| (t.warehouse, t.district)));
            }
            assert_eq!(homes, config.scale.districts().collect::<Vec<_>>());
        }
        // More workers than terminals: everybody has one.
        let config = config("warehouses=1");
        for index in 0..25 {
            assert_eq!(Terminals::new(&config, Seed::new(1), index, 25).terminals.len(), 1);
        }
    }

    #[test]
    fn users_key_and_think_as_long_as_the_standard_says() {
        let mut random = Seed::new(2).stream(Purpose::Keys, 0);
        for kind in Kind::ALL {
            let mean = kind.mean_think_seconds();
            let draws: Vec<f64> =
                (0..20_000).map(|_| kind.think(&mut random).as_secs_f64()).collect();
            let average = draws.iter().sum::<f64>() / draws.len() as f64;
            assert!((average / mean - 1.0).abs() < 0.05, "{kind:?}: {average}");
            assert!(draws.iter().all(|draw| *draw <= 10.0 * mean));
            let above_mean = draws.iter().filter(|draw| **draw > mean).count();
            assert!((7_000..7_720).contains(&above_mean), "e^-1 of them: {above_mean}");
        }
        let mut terminals = Terminals::new(&config("warehouses=1\nthink=true"), Seed::new(1), 0, 1);
        for _ in 0..200 {
            let (kind, _) = terminals.choose();
            let due = terminals.terminals[terminals.current].due;
            let dues = terminals.terminals.iter().map(|terminal| terminal.due);
            assert_eq!(Some(due), dues.min(), "the terminal that is due first comes first");
            let before = Instant::now();
            terminals.answered(kind);
            let terminal = &terminals.terminals[terminals.current];
            let keying = terminal.next().expect("the next card is known").keying();
            assert!(terminal.due >= before + keying);
        }
        assert!(Terminals::new(&config(""), Seed::new(1), 0, 1).pause().is_zero());
    }

    #[test]
    fn there_are_ten_terminals_for_each_warehouse() {
        let config = config("warehouses=3");
        let terminals = Terminals::new(&config, Seed::new(1), 0, 1).terminals;
        assert_eq!(terminals.len(), 30);
    }
}
