//! When a job's next tick is due here, given what this replica and the others did: pure arithmetic over one clock.

use std::time::Duration;

use crate::sharing::patience;

/// What a job waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Turn {
    /// When it is due if this replica is first in line.
    first: Duration,
    /// The last news, whoever made them: when they came here, and how old they were then.
    news: (Duration, Duration),
    /// Whether there is no reason to doubt that the first in line gets answers.
    good: bool,
    /// Whether this replica got the last answer itself.
    mine: bool,
}

// === impl Turn ===

impl Turn {
    /// Nothing is known: the first in line begins at once, the others give it time.
    pub(super) fn starting(now: Duration, phase: Duration) -> Self {
        let first = now.saturating_add(phase);
        Self {
            first,
            news: (first, Duration::ZERO),
            good: true,
            mine: false,
        }
    }

    /// When the next tick is due for who has so many before them.
    pub(super) fn due(&self, before: usize, interval: Duration) -> Duration {
        if before == 0 {
            return self.first;
        }
        let (at, age) = self.news;
        let late = at.saturating_add(patience(before, self.good, interval)).saturating_sub(age);
        self.first.max(late)
    }

    /// When it is due for who is first.
    pub(super) fn first(&self) -> Duration {
        self.first
    }

    /// The same, sooner.
    pub(super) fn sooner(&mut self, first: Duration) {
        self.first = first;
    }

    /// A tick of this replica ended; the next one is due at `first` if it is first in line.
    pub(super) fn ticked(&mut self, now: Duration, good: bool, first: Duration) {
        *self = Self {
            first,
            news: (now, Duration::ZERO),
            good,
            mine: good,
        };
    }

    /// Another replica's tick ended so long ago.
    pub(super) fn heard(&mut self, now: Duration, age: Duration, good: bool, interval: Duration) {
        let first = now.saturating_add(interval).saturating_sub(age);
        if good {
            *self = Self {
                first,
                news: (now, age),
                good,
                mine: false,
            };
            return;
        }
        self.first = self.first.max(first);
        // It says so again and again; it is doubted from its first word on, and where we get answers not at all.
        if self.good && !self.mine {
            self.news = (now, age);
            self.good = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const I: Duration = Duration::from_secs(20);
    const S: fn(u64) -> Duration = Duration::from_secs;

    /// When it is due for the first, the second and the third in line.
    fn due(turn: &Turn) -> [u64; 3] {
        [0, 1, 2].map(|before| turn.due(before, I).as_secs())
    }

    #[test]
    fn the_first_begins_and_the_others_give_it_time() {
        let mut turn = Turn::starting(S(100), S(2));
        assert_eq!(due(&turn), [102, 127, 132]);
        turn.heard(S(103), S(1), true, I);
        assert_eq!(due(&turn), [122, 127, 132], "a second old when it came");
        turn.ticked(S(128), true, S(147));
        assert_eq!(due(&turn), [147, 153, 158], "nothing was heard, so the second went");
    }

    #[test]
    fn a_target_that_does_not_answer_is_left_alone_for_a_while() {
        let mut turn = Turn::starting(S(0), S(0));
        turn.heard(S(0), S(0), true, I);
        turn.heard(S(20), S(0), false, I);
        assert_eq!(due(&turn), [40, 85, 90]);
        turn.heard(S(40), S(0), false, I);
        turn.heard(S(60), S(0), false, I);
        assert_eq!(
            due(&turn),
            [80, 85, 90],
            "the first goes on, and the second's turn comes all the same"
        );
        turn.ticked(S(85), true, S(105));
        turn.heard(S(86), S(0), false, I);
        assert_eq!(due(&turn), [106, 110, 115], "the second gets answers and goes on");
        turn.heard(S(105), S(0), true, I);
        turn.heard(S(125), S(0), false, I);
        assert_eq!(due(&turn), [145, 190, 195], "the first had got one again");
    }

    #[test]
    fn news_that_are_older_than_this_process_are_no_trouble() {
        let mut turn = Turn::starting(S(1), S(0));
        turn.heard(S(1), S(30), true, I);
        assert_eq!(due(&turn), [0, 0, 1]);
    }
}
