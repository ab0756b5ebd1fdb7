//! Lists of a plan, which have no fixed length and cost no memory.

use crate::envelope;
use core::fmt;
use core::marker::PhantomData;
use serde::{Deserialize, Serialize, Serializer};

/// A list inside a plan, decoded item by item when it is gone through: nothing is copied or counted in advance.
///
/// On the wire the length in bytes, then the items one after the other.
#[derive(PartialEq, Eq, Deserialize)]
#[serde(bound = "")]
pub struct List<'a, T> {
    bytes: &'a [u8],
    #[serde(skip)]
    item: PhantomData<T>,
}

impl<T> Clone for List<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for List<'_, T> {}

impl<'a, T> List<'a, T> {
    /// A list of items that are encoded already, one behind the other.
    pub const fn of_encoded(bytes: &'a [u8]) -> Self {
        List { bytes, item: PhantomData }
    }

    /// Whether there is no item.
    pub const fn is_empty(self) -> bool {
        self.bytes.is_empty()
    }
}

impl<'a, T: Deserialize<'a> + fmt::Debug> fmt::Debug for List<'a, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(*self).finish()
    }
}

impl<'a, T: Deserialize<'a> + Serialize> Serialize for List<'a, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_seq(*self)
        } else {
            serializer.serialize_bytes(self.bytes)
        }
    }
}

impl<'a, T: Serialize> List<'a, T> {
    /// Encodes `items` into `buffer`.
    ///
    /// # Errors
    /// [`envelope::Error::TooLarge`] if `buffer` is too small.
    pub fn encode(items: impl IntoIterator<Item = T>, buffer: &'a mut [u8]) -> Result<Self, envelope::Error> {
        let room = buffer.len();
        let mut end = 0;
        for item in items {
            let left = buffer.get_mut(end..).unwrap_or_default();
            end += postcard::to_slice(&item, left).map_err(|_| envelope::Error::TooLarge(room))?.len();
        }
        Ok(List { bytes: buffer.get(..end).unwrap_or_default(), item: PhantomData })
    }
}

impl<'a, T: Deserialize<'a>> List<'a, T> {
    /// Whether every item decodes and `accept` takes it.
    pub(super) fn all(self, accept: impl Fn(&T) -> bool) -> bool {
        let mut items = self.into_iter();
        items.by_ref().all(|item| accept(&item)) && items.list.is_empty()
    }
}

impl<'a, T: Deserialize<'a>> IntoIterator for List<'a, T> {
    type Item = T;
    type IntoIter = Items<'a, T>;

    fn into_iter(self) -> Items<'a, T> {
        Items { list: self }
    }
}

/// Goes through a [`List`].
pub struct Items<'a, T> {
    list: List<'a, T>,
}

impl<'a, T: Deserialize<'a>> Iterator for Items<'a, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let (item, rest) = postcard::take_from_bytes(self.list.bytes).ok()?;
        self.list.bytes = rest;
        Some(item)
    }
}
