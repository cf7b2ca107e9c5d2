//! Rows in a vector, named by index and generation.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;

/// Names a row of an [`Arena`]. A row that was removed never answers to its old id, even when its place is used again.
pub struct Id<T> {
    index: u32,
    generation: u32,
    of: PhantomData<fn() -> T>,
}

/// Rows of one kind. Walking them goes in order of index: equal histories give equal walks.
#[derive(Debug)]
pub struct Arena<T, Mark = T> {
    rows: Vec<Row<T>>,
    free: Vec<u32>,
    of: PhantomData<fn() -> Mark>,
}

#[derive(Debug)]
struct Row<T> {
    generation: u32,
    value: Option<T>,
}

impl<T, Mark> Arena<T, Mark> {
    /// An empty arena.
    pub fn new() -> Self {
        Arena { rows: Vec::new(), free: Vec::new(), of: PhantomData }
    }

    /// Takes `value` in and names it.
    ///
    /// # Panics
    /// With 2³² rows.
    pub fn insert(&mut self, value: T) -> Id<Mark> {
        self.insert_with(|_| value)
    }

    /// As [`Arena::insert`], for a value that holds its own name.
    ///
    /// # Panics
    /// With 2³² rows.
    pub fn insert_with(&mut self, value: impl FnOnce(Id<Mark>) -> T) -> Id<Mark> {
        if let Some(index) = self.free.pop() {
            let row = &mut self.rows[index as usize];
            let id = Id::new(index, row.generation);
            row.value = Some(value(id));
            return id;
        }
        let id = Id::new(u32::try_from(self.rows.len()).expect("an arena has fewer than 2^32 rows"), 0);
        self.rows.push(Row { generation: 0, value: Some(value(id)) });
        id
    }

    /// The row, if it is still there.
    pub fn get(&self, id: Id<Mark>) -> Option<&T> {
        let row = self.rows.get(id.index as usize)?;
        if row.generation == id.generation || planted!(StaleGeneration) { row.value.as_ref() } else { None }
    }

    /// The row, if it is still there.
    pub fn get_mut(&mut self, id: Id<Mark>) -> Option<&mut T> {
        let row = self.rows.get_mut(id.index as usize)?;
        if row.generation == id.generation || planted!(StaleGeneration) { row.value.as_mut() } else { None }
    }

    /// Takes the row out.
    pub fn remove(&mut self, id: Id<Mark>) -> Option<T> {
        let row = self.rows.get_mut(id.index as usize)?;
        if row.generation != id.generation && !planted!(StaleGeneration) {
            return None;
        }
        let value = row.value.take()?;
        // A place whose generations are used up is given up: 8 bytes lost after 2³² removals.
        if let Some(next) = row.generation.checked_add(1) {
            row.generation = next;
            self.free.push(id.index);
        }
        Some(value)
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.iter().filter(|row| row.value.is_some()).count()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.iter().all(|row| row.value.is_none())
    }

    /// All rows, in order of index.
    pub fn iter(&self) -> impl Iterator<Item = (Id<Mark>, &T)> {
        self.rows.iter().enumerate().filter_map(|(index, row)| {
            let value = row.value.as_ref()?;
            Some((Id::new(index as u32, row.generation), value))
        })
    }

    /// All rows, in order of index.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Id<Mark>, &mut T)> {
        self.rows.iter_mut().enumerate().filter_map(|(index, row)| {
            let generation = row.generation;
            let value = row.value.as_mut()?;
            Some((Id::new(index as u32, generation), value))
        })
    }
}

impl<T, Mark> Default for Arena<T, Mark> {
    fn default() -> Self {
        Arena::new()
    }
}

impl<T> Id<T> {
    fn new(index: u32, generation: u32) -> Id<T> {
        Id { index, generation, of: PhantomData }
    }

    /// The row's place: small, and used again after the row is gone. For tables kept beside the arena.
    pub fn index(self) -> u32 {
        self.index
    }

    /// Both halves in one number, for tokens of other people's registries.
    pub fn to_bits(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    /// The inverse of [`Id::to_bits`].
    pub fn from_bits(bits: u64) -> Id<T> {
        Id::new(bits as u32, (bits >> 32) as u32)
    }
}

impl<T> Clone for Id<T> {
    fn clone(&self) -> Id<T> {
        *self
    }
}

impl<T> Copy for Id<T> {}

impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Id<T>) -> bool {
        self.to_bits() == other.to_bits()
    }
}

impl<T> Eq for Id<T> {}

impl<T> PartialOrd for Id<T> {
    fn partial_cmp(&self, other: &Id<T>) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Id<T> {
    fn cmp(&self, other: &Id<T>) -> Ordering {
        (self.index, self.generation).cmp(&(other.index, other.generation))
    }
}

impl<T> Hash for Id<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.to_bits());
    }
}

impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}.{}", self.index, self.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_row_never_answers_to_its_old_id() {
        let mut arena: Arena<&str> = Arena::new();
        let a = arena.insert("a");
        assert_eq!(arena.remove(a), Some("a"));
        let b = arena.insert("b");
        assert_eq!(a.index(), b.index());
        assert_eq!((arena.get(a), arena.get(b)), (None, Some(&"b")));
        assert_eq!(arena.remove(a), None);
        assert_eq!(Id::<&str>::from_bits(b.to_bits()), b);
    }
}
