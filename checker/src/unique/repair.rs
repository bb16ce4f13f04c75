//! Moves blocks so that failed cas find their moment.
//!
//! Sorting gives one linearization of many. A failed cas needs a moment at which its value was
//! not there; where that linearization leaves it none, another block, which real time lets stand
//! there, is put right behind the value's own; or else a write of unknown outcome that nobody saw
//! the value of, which may have happened just there. This is a heuristic: what it finds is checked,
//! and when it finds nothing that means nothing.

use super::timeline::Timeline;
use super::{Block, Clusters, NEVER, NONE, begun, done};
use crate::models::RegisterOp;

/// How often the whole is tried again.
const ROUNDS_MAX: usize = 6;
/// How many blocks on either side are looked at.
const NEIGHBOURS: usize = 48;

/// Tries to order the blocks so that all failed cas fit. Returns whether it did; the blocks and
/// the timeline are then a linearization into which they fit.
pub(super) fn repair(
    clusters: &Clusters<'_>,
    blocks: &mut Vec<Block>,
    timeline: &mut Timeline,
) -> bool {
    // Where each block stands, by the value at its head, and the head of each value's block.
    let mut head_of = vec![NONE; clusters.clusters.len()];
    let mut misfits: Vec<u32> = timeline.misfits(clusters).collect();
    if misfits.is_empty() {
        return true;
    }
    for block in blocks.iter() {
        for value in clusters.chain(block.head) {
            head_of[value as usize] = block.head;
        }
    }
    let mut unseen = unseen_writes(clusters);
    // A block moves once, else two failed cas could send it to and fro.
    let mut settled = vec![false; clusters.clusters.len()];
    for _ in 0..ROUNDS_MAX {
        let moves = plan(clusters, blocks, &head_of, &misfits, &mut unseen, &mut settled);
        if moves.is_empty() {
            return false;
        }
        let moved = apply(blocks, &moves);
        let next = Timeline::new(clusters, &moved);
        let left: Vec<u32> = next.misfits(clusters).collect();
        (*blocks, *timeline, misfits) = (moved, next, left);
        if misfits.is_empty() {
            return true;
        }
    }
    false
}

/// A block that is to stand right behind another one.
struct Move {
    block: Mover,
    /// By its place.
    behind: usize,
}

/// Who is to move.
#[derive(Clone, Copy)]
enum Mover {
    /// The block at a place.
    Placed(usize),
    /// A block that was left out so far.
    New(Block),
}

/// Writes of unknown outcome whose value nobody saw, the first invoked last.
fn unseen_writes(clusters: &Clusters<'_>) -> Vec<Block> {
    let unseen = clusters.calls.iter().filter_map(|call| match call.op {
        RegisterOp::Write(value) if !call.required && !clusters.cluster(value).needed => {
            Some(Block { head: value, done_first: NEVER, begun_last: begun(call) })
        }
        _ => None,
    });
    let mut unseen: Vec<Block> = unseen.collect();
    unseen.reverse();
    unseen
}

/// For each failed cas that does not fit, a block to put behind that of its value.
fn plan(
    clusters: &Clusters<'_>,
    blocks: &[Block],
    head_of: &[u32],
    misfits: &[u32],
    unseen: &mut Vec<Block>,
    settled: &mut [bool],
) -> Vec<Move> {
    let mut place_of = vec![usize::MAX; clusters.clusters.len()];
    for (place, block) in blocks.iter().enumerate() {
        place_of[block.head as usize] = place;
    }
    // The last invocation among a block and all before it: what comes after must not have
    // completed by then.
    let mut latest = Vec::with_capacity(blocks.len());
    let mut clock = 0;
    for block in blocks {
        clock = clock.max(block.begun_last);
        latest.push(clock);
    }
    let mut taken = vec![false; blocks.len()];
    let mut moves = Vec::new();
    for &misfit in misfits {
        let call = clusters.call(misfit);
        let RegisterOp::NotEqual(value) = call.op else { continue };
        // Nothing can come between the value and the cas that took it.
        if clusters.next_of(value).is_some() || head_of[value as usize] == NONE {
            continue;
        }
        let behind = place_of[head_of[value as usize] as usize];
        let end = done(call);
        if latest[behind] >= end {
            continue;
        }
        let first = behind.saturating_sub(NEIGHBOURS);
        let last = (behind + NEIGHBOURS).min(blocks.len() - 1);
        let candidate = (first..behind)
            .rev()
            .chain(behind + 1..=last)
            .filter(|&place| !taken[place] && !settled[blocks[place].head as usize])
            .filter(|&place| clusters.initial != blocks[place].head)
            .filter(|&place| {
                let block = &blocks[place];
                let first_begun = begun(clusters.call(clusters.cluster(block.head).writer));
                let after = latest[behind].max(first_begun);
                after < end && fits_behind(blocks, &latest, place, behind)
            })
            // A value that nobody saw is missed by the fewest.
            .min_by_key(|&place| {
                let head = clusters.cluster(blocks[place].head);
                (head.consumer != NONE, head.read_done_first != NONE)
            });
        if taken[behind] {
            continue;
        }
        let block = match candidate {
            Some(place) => {
                taken[place] = true;
                settled[blocks[place].head as usize] = true;
                Mover::Placed(place)
            }
            // Any that was invoked in time will do, as it completes never.
            None => match unseen.last().filter(|block| block.begun_last < end) {
                Some(&block) => {
                    unseen.pop();
                    settled[block.head as usize] = true;
                    Mover::New(block)
                }
                None => continue,
            },
        };
        taken[behind] = true;
        moves.push(Move { block, behind });
    }
    moves
}

/// Whether a block may stand right behind another by real time.
fn fits_behind(blocks: &[Block], latest: &[u32], place: usize, behind: usize) -> bool {
    let block = &blocks[place];
    if place < behind {
        // It goes later: what it passes must not have been invoked after its first completion.
        block.done_first >= latest[behind]
    } else {
        // It goes earlier: nothing that it passes may have completed before its last invocation.
        block.done_first >= latest[behind]
            && blocks[behind + 1..place].iter().all(|passed| passed.done_first >= block.begun_last)
    }
}

/// The blocks in their new order, as far as the moves agree with one another and with real time.
fn apply(blocks: &[Block], moves: &[Move]) -> Vec<Block> {
    let mut leaves = vec![false; blocks.len()];
    let mut arrives: Vec<Option<Block>> = vec![None; blocks.len()];
    for step in moves {
        arrives[step.behind] = Some(match step.block {
            Mover::Placed(place) => {
                leaves[place] = true;
                blocks[place]
            }
            Mover::New(block) => block,
        });
    }
    let mut moved = Vec::with_capacity(blocks.len());
    for (place, block) in blocks.iter().enumerate() {
        if !leaves[place] {
            moved.push(*block);
        }
        moved.extend(arrives[place]);
    }
    let mut latest = 0;
    let in_time = moved.iter().all(|block| {
        let fits = block.done_first >= latest;
        latest = latest.max(block.begun_last);
        fits
    });
    if in_time { moved } else { blocks.to_vec() }
}
