//! The registry of groups: the same state for every handle of a group.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::GroupId;
use crate::group::{Cell, Group};

#[derive(Debug, Default)]
pub(crate) struct Cells(Mutex<HashMap<GroupId, Arc<Cell>>>);

impl Cells {
    pub fn new(cells: HashMap<GroupId, Arc<Cell>>) -> Cells {
        Cells(Mutex::new(cells))
    }

    pub fn get(&self, group: GroupId) -> Arc<Cell> {
        let mut cells = self.0.lock();
        let cell =
            cells.entry(group).or_insert_with(|| Arc::new(Cell::new(group, Group::default())));
        Arc::clone(cell)
    }

    /// The group, if anybody knows it.
    pub fn find(&self, group: GroupId) -> Option<Arc<Cell>> {
        self.0.lock().get(&group).cloned()
    }

    pub fn all(&self) -> Vec<Arc<Cell>> {
        self.0.lock().values().cloned().collect()
    }

    /// Groups that hold something, in order.
    pub fn existing(&self) -> Vec<GroupId> {
        let mut groups: Vec<GroupId> =
            self.all().iter().filter(|cell| cell.lock().exists).map(|cell| cell.id).collect();
        groups.sort_unstable();
        groups
    }

    /// Forgets a dropped group, unless somebody still holds it. `held` is the caller's reference.
    pub fn forget(&self, held: &Arc<Cell>) {
        let mut cells = self.0.lock();
        // Two references: the registry's and the caller's. New ones are made under this lock.
        if Arc::strong_count(held) == 2 && !held.lock().exists {
            cells.remove(&held.id);
        }
    }
}
