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
