//! The rules of a link, and the one function that decides a message's fate.
//!
//! A fate is a pure function of the rules in force, the seed, the link's name and the message's
//! number on that link. Each fault draws from a stream of its own, keyed by the link and the
//! fault's id, so that taking one fault away leaves the decisions of the others as they were.
//!
//! Left out: throttling, corruption, and reordering within a connection.

use std::fmt;
use std::time::Duration;

use protocol::NodeId;
use workloads::random::Stream;

/// Identifies one fault of a run; evidence is counted under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FaultId(pub u32);

impl fmt::Display for FaultId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "f{}", self.0)
    }
}

/// The flow of messages from one endpoint (a node `n1` or a client `c3`) to another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Link {
    /// Who sends.
    pub from: NodeId,
    /// Who receives.
    pub to: NodeId,
}

impl Link {
    /// The link between these endpoints.
    pub fn new(from: impl Into<NodeId>, to: impl Into<NodeId>) -> Self {
        Link { from: from.into(), to: to.into() }
    }

    /// The link of the other direction.
    pub fn reversed(&self) -> Self {
        Link { from: self.to.clone(), to: self.from.clone() }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}->{}", self.from, self.to)
    }
}

/// What the receiver of a flow relies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Whole messages are known and each may be lost or come twice.
    Lossy,
    /// A stream: what arrives is a prefix of what was sent. It can be held up, never thinned out.
    Stream,
}

/// What a fault does to a link while it is in force.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Effect {
    /// Nothing gets through. A lossy flow loses its messages; a stream stalls and goes on where it
    /// was once the rule is lifted. The end of a connection does not get through either.
    Block,
    /// Each message is lost with this probability. Lossy flows only.
    Drop {
        /// Between 0 and 1.
        probability: f64,
    },
    /// Connections between the two endpoints are reset, and new ones refused while it is in force.
    Cut,
    /// Each message arrives later, by a time drawn from `min..=max`. Order within a connection is
    /// kept, as TCP keeps it. What still waits when the rule is lifted is released at once.
    Delay {
        /// Shortest delay.
        min: Duration,
        /// Longest delay.
        max: Duration,
    },
    /// Each message arrives twice with this probability. Lossy flows only.
    Duplicate {
        /// Between 0 and 1.
        probability: f64,
    },
}

impl Effect {
    /// Why this effect cannot be had on a flow of this delivery; `None` when it can.
    pub fn refusal(&self, delivery: Delivery) -> Option<&'static str> {
        let lossy_only = "it needs whole messages that may be lost: a declared peer framing and \
                          `peer_delivery = \"lossy\"`";
        match *self {
            Effect::Drop { probability } | Effect::Duplicate { probability } => {
                if !(0.0..=1.0).contains(&probability) {
                    Some("its probability must lie between 0 and 1")
                } else if delivery == Delivery::Stream {
                    Some(lossy_only)
                } else {
                    None
                }
            }
            Effect::Delay { min, max } if min > max => {
                Some("its shortest delay must not exceed its longest")
            }
            Effect::Delay { max, .. } if max > Duration::from_secs(24 * 3600) => {
                Some("its longest delay must not exceed a day")
            }
            Effect::Block | Effect::Cut | Effect::Delay { .. } => None,
        }
    }

    /// The effect's name in stream keys and messages.
    pub fn name(&self) -> &'static str {
        match self {
            Effect::Block => "block",
            Effect::Drop { .. } => "drop",
            Effect::Cut => "cut",
            Effect::Delay { .. } => "delay",
            Effect::Duplicate { .. } => "duplicate",
        }
    }
}

/// One effect of one fault on a link.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinkRule {
    /// The fault that this rule belongs to.
    pub fault: FaultId,
    /// What it does.
    pub effect: Effect,
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is delivered, perhaps late, perhaps twice.
    Deliver {
        /// Not before this time of the run (ns), because of this fault.
        delay: Option<(u64, FaultId)>,
        /// Twice, because of this fault.
        duplicate: Option<FaultId>,
    },
    /// It waits, and all that is behind it, until the link is not blocked any more.
    Hold {
        /// Whose block it is.
        fault: FaultId,
    },
    /// It never arrives.
    Drop {
        /// The fault that took it.
        fault: FaultId,
    },
}

impl Fate {
    /// Delivered once and at once.
    pub const PASS: Fate = Fate::Deliver { delay: None, duplicate: None };
}

/// The rules in force on one link, ready to decide.
#[derive(Debug)]
pub struct CompiledRules {
    delivery: Delivery,
    rules: Vec<(LinkRule, Stream)>,
}

impl CompiledRules {
    /// Prepares `rules` for `link`. Rules that [`Effect::refusal`] refuses have no effect.
    pub fn new(rules: &[LinkRule], link: &Link, delivery: Delivery, seed: u64) -> Self {
        let rules = rules
            .iter()
            .filter(|rule| rule.effect.refusal(delivery).is_none())
            .map(|rule| {
                let key = format!("link {link} {} {}", rule.effect.name(), rule.fault);
                (*rule, Stream::new(seed, &key))
            })
            .collect();
        CompiledRules { delivery, rules }
    }

    /// The fate of the link's message number `counter`, which reached the link at `now_ns`.
    ///
    /// A block wins over a loss, a loss over everything else; delays add up.
    pub fn decide(&self, counter: u64, now_ns: u64) -> Fate {
        if let Some(fault) = self.blocked_by() {
            return match self.delivery {
                Delivery::Lossy => Fate::Drop { fault },
                Delivery::Stream => Fate::Hold { fault },
            };
        }
        let mut delay: Option<(u64, FaultId)> = None;
        let mut duplicate = None;
        let mut dropped = None;
        for (rule, stream) in &self.rules {
            let fault = rule.fault;
            match rule.effect {
                Effect::Drop { probability } => {
                    if stream.at(counter).chance(probability) {
                        dropped = dropped.or(Some(fault));
                    }
                }
                Effect::Delay { min, max } => {
                    let (min, max) = (min.as_nanos() as u64, max.as_nanos() as u64);
                    let drawn = min + stream.at(counter).below(max - min + 1);
                    let (until, by) = delay.unwrap_or((now_ns, fault));
                    delay = Some((until.saturating_add(drawn), by));
                }
                Effect::Duplicate { probability } => {
                    if stream.at(counter).chance(probability) {
                        duplicate = duplicate.or(Some(fault));
                    }
                }
                Effect::Block | Effect::Cut => {}
            }
        }
        match dropped {
            Some(fault) => Fate::Drop { fault },
            None => Fate::Deliver { delay, duplicate },
        }
    }

    /// The first fault that blocks the link.
    pub fn blocked_by(&self) -> Option<FaultId> {
        self.first(|effect| matches!(effect, Effect::Block))
    }

    /// The first fault that cuts the link's connections.
    pub fn cut_by(&self) -> Option<FaultId> {
        self.first(|effect| matches!(effect, Effect::Cut))
    }

    /// Whether any rule of `fault` that delays is in force.
    pub fn delays(&self, fault: FaultId) -> bool {
        self.rules
            .iter()
            .any(|(rule, _)| rule.fault == fault && matches!(rule.effect, Effect::Delay { .. }))
    }

    fn first(&self, wanted: impl Fn(&Effect) -> bool) -> Option<FaultId> {
        self.rules.iter().find(|(rule, _)| wanted(&rule.effect)).map(|(rule, _)| rule.fault)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SEED: u64 = 42;
    const MS: u64 = 1_000_000;

    fn rule(fault: u32, effect: Effect) -> LinkRule {
        LinkRule { fault: FaultId(fault), effect }
    }

    fn compiled(rules: &[LinkRule], delivery: Delivery) -> CompiledRules {
        CompiledRules::new(rules, &Link::new("n1", "n2"), delivery, SEED)
    }

    fn drops(rules: &[LinkRule], link: &Link, seed: u64) -> Vec<u64> {
        let rules = CompiledRules::new(rules, link, Delivery::Lossy, seed);
        (0..64).filter(|&n| matches!(rules.decide(n, 0), Fate::Drop { .. })).collect()
    }

    /// Saved seeds depend on these figures: if one changes, the change is wrong.
    #[test]
    fn golden_decisions() {
        let half = [rule(1, Effect::Drop { probability: 0.25 })];
        assert_eq!(drops(&half, &Link::new("n1", "n2"), SEED), GOLDEN_DROPS);
        let (min, max) = (Duration::from_millis(1), Duration::from_millis(5));
        let delay = compiled(&[rule(2, Effect::Delay { min, max })], Delivery::Stream);
        let until: Vec<u64> = (0..4)
            .map(|n| match delay.decide(n, 0) {
                Fate::Deliver { delay: Some((until_ns, _)), .. } => until_ns,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(until, GOLDEN_DELAYS);
    }

    const GOLDEN_DROPS: [u64; 17] =
        [2, 4, 5, 15, 22, 28, 29, 32, 39, 44, 46, 47, 48, 51, 53, 58, 61];
    const GOLDEN_DELAYS: [u64; 4] = [4771075, 3565404, 3242169, 1630684];

    #[test]
    fn decisions_differ_by_seed_link_direction_and_fault() {
        let rules = [rule(1, Effect::Drop { probability: 0.5 })];
        let there = Link::new("n1", "n2");
        let base = drops(&rules, &there, SEED);
        assert_eq!(base, drops(&rules, &there, SEED));
        assert_ne!(base, drops(&rules, &there, SEED + 1));
        assert_ne!(base, drops(&rules, &there.reversed(), SEED));
        let other = [rule(2, Effect::Drop { probability: 0.5 })];
        assert_ne!(base, drops(&other, &there, SEED));
    }

    #[test]
    fn a_block_drops_messages_and_stalls_streams() {
        let rules = [rule(7, Effect::Block), rule(8, Effect::Drop { probability: 1.0 })];
        let fault = FaultId(7);
        assert_eq!(compiled(&rules, Delivery::Lossy).decide(0, 0), Fate::Drop { fault });
        assert_eq!(compiled(&rules, Delivery::Stream).decide(0, 0), Fate::Hold { fault });
    }

    #[test]
    fn an_hour_of_delay_and_a_delay_of_nothing() {
        let hour = Duration::from_secs(3600);
        for span in [Duration::ZERO, hour] {
            let delay =
                compiled(&[rule(1, Effect::Delay { min: span, max: span })], Delivery::Stream);
            let expected = Some((7 + span.as_nanos() as u64, FaultId(1)));
            assert_eq!(delay.decide(0, 7), Fate::Deliver { delay: expected, duplicate: None });
        }
    }

    fn any_effect() -> impl Strategy<Value = Effect> {
        prop_oneof![
            1 => Just(Effect::Block),
            1 => Just(Effect::Cut),
            4 => (0.0..=1.0).prop_map(|probability| Effect::Drop { probability }),
            4 => (0.0..=1.0).prop_map(|probability| Effect::Duplicate { probability }),
            4 => (0..50u64, 0..50u64).prop_map(|(min, more)| Effect::Delay {
                min: Duration::from_millis(min),
                max: Duration::from_millis(min + more),
            }),
        ]
    }

    fn any_rules() -> impl Strategy<Value = Vec<LinkRule>> {
        prop::collection::vec(any_effect(), 0..6).prop_map(|effects| {
            effects.into_iter().zip(0..).map(|(effect, fault)| rule(fault, effect)).collect()
        })
    }

    /// The earliest and the latest time to which all delays together may put off.
    fn delay_bounds(rules: &[LinkRule], now: u64) -> std::ops::RangeInclusive<u64> {
        let (mut least, mut most) = (now, now);
        for rule in rules {
            if let Effect::Delay { min, max } = rule.effect {
                least += min.as_millis() as u64 * MS;
                most += max.as_millis() as u64 * MS;
            }
        }
        least..=most
    }

    proptest! {
        #[test]
        fn a_stream_loses_and_doubles_nothing(rules in any_rules(), number: u64) {
            let kept_whole = match compiled(&rules, Delivery::Stream).decide(number, 0) {
                Fate::Hold { .. } => true,
                Fate::Deliver { duplicate, .. } => duplicate.is_none(),
                Fate::Drop { .. } => false,
            };
            prop_assert!(kept_whole);
        }

        #[test]
        fn a_fate_is_one_that_a_rule_asked_for(
            rules in any_rules(), number: u64, now in 0..1u64 << 60,
        ) {
            let asked = |fault: FaultId, names: &[&str]| {
                let mut of_fault = rules.iter().filter(|rule| rule.fault == fault);
                of_fault.any(|rule| names.contains(&rule.effect.name()))
            };
            let blocked = rules.iter().any(|rule| rule.effect == Effect::Block);
            for delivery in [Delivery::Lossy, Delivery::Stream] {
                match compiled(&rules, delivery).decide(number, now) {
                    Fate::Drop { fault } => prop_assert!(asked(fault, &["block", "drop"])),
                    Fate::Hold { fault } => prop_assert!(asked(fault, &["block"])),
                    Fate::Deliver { delay, duplicate } => {
                        prop_assert!(!blocked);
                        prop_assert!(duplicate.is_none_or(|fault| asked(fault, &["duplicate"])));
                        prop_assert!(delay.is_none_or(|(_, fault)| asked(fault, &["delay"])));
                        let until_ns = delay.map_or(now, |(until_ns, _)| until_ns);
                        prop_assert!(delay_bounds(&rules, now).contains(&until_ns));
                    }
                }
            }
        }

        #[test]
        fn taking_a_fault_away_leaves_the_others_decisions(
            rules in any_rules(), victim in 0usize..6, number: u64,
        ) {
            // Drops only: every message that the rest takes was taken with the victim there, too,
            // and what is taken besides was the victim's.
            let drops: Vec<LinkRule> = rules
                .into_iter()
                .filter(|rule| matches!(rule.effect, Effect::Drop { .. }))
                .collect();
            let rest: Vec<LinkRule> = drops
                .iter().enumerate().filter(|&(at, _)| at != victim).map(|(_, rule)| *rule).collect();
            let whole = compiled(&drops, Delivery::Lossy).decide(number, 0);
            let fewer = compiled(&rest, Delivery::Lossy).decide(number, 0);
            match (whole, fewer) {
                (Fate::Drop { fault }, Fate::Deliver { .. }) => {
                    prop_assert_eq!(fault, drops[victim].fault);
                }
                (Fate::Deliver { .. }, Fate::Drop { .. }) => prop_assert!(false, "a new loss"),
                _ => {}
            }
        }
    }
}
