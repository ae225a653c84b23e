//! Which nodes changed since they were last looked at: for what is counted node by node and kept up to date.

use crate::scheduler::framework::Snapshot;

/// How far a snapshot was looked at.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    generation: u64,
    /// The generations that the nodes had, by their positions.
    nodes: Vec<u64>,
}

impl Seen {
    /// Whether nothing was looked at yet.
    pub(super) fn is_nothing(&self) -> bool {
        self.generation == 0
    }

    /// The positions of the nodes that are others than they were; from now on they are known. A position may be past the last node,
    /// when nodes went.
    pub(super) fn changed(&mut self, snapshot: &Snapshot) -> Vec<usize> {
        let count = snapshot.nodes().len();
        let mut changed: Vec<usize> = match snapshot.changes_since(self.generation) {
            Some(changes) if self.generation > 0 => {
                (count..self.nodes.len()).chain(changes).collect()
            }
            _ => (0..count.max(self.nodes.len())).collect(),
        };
        changed.retain(|position| {
            let mark = snapshot.marks().get(*position);
            let generation = mark.map_or(0, |mark| mark.generation);
            if self.nodes.len() <= *position {
                self.nodes.resize(position + 1, 0);
            }
            let Some(known) = self.nodes.get_mut(*position) else {
                return false;
            };
            std::mem::replace(known, generation) != generation
        });
        self.generation = snapshot.generation();
        changed
    }
}
