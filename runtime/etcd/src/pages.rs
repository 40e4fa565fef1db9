//! Long ranges, a page at a time.

use std::num::NonZeroU32;

use crate::{
    client::Client,
    data::{KeyValue, Keys, Range, Revision},
    error::ReadError,
};

/// A range of keys as it was at one revision, read in several answers. Made by [`Client::pages`].
///
/// etcd puts all of an answer together in memory before it sends it, so a page should be small: the caller says how
/// many keys. A page that would be above 4 MiB is asked for again with half as many, and so are those after it.
#[derive(Debug)]
pub struct Pages {
    client: Client,
    /// What is still to be read.
    rest: Option<Keys>,
    at: Option<Revision>,
    limit: NonZeroU32,
}

impl Client {
    /// Reads a range at one revision, in pages of at most `limit` keys: at `revision`, or without one as it is when the
    /// first page is read, with all that was written before.
    #[must_use]
    pub fn pages(&self, keys: Keys, revision: Option<Revision>, limit: NonZeroU32) -> Pages {
        Pages { client: self.clone(), rest: Some(keys), at: revision, limit }
    }
}

impl Pages {
    /// The revision that it is read at; `None` before the first page if none was given.
    #[must_use]
    pub fn revision(&self) -> Option<Revision> {
        self.at
    }

    /// The next page, in the order of keys; `None` after the last. Only the first may be empty, when there are no keys.
    ///
    /// # Errors
    /// [`ReadError::Compacted`]: begin anew, with other pages. [`ReadError::Failed`]: call it again for the same page; the
    /// client has turned to another member.
    pub async fn next(&mut self) -> Result<Option<Vec<KeyValue>>, ReadError> {
        let Some(keys) = self.rest.clone() else { return Ok(None) };
        loop {
            let range = Range { at: self.at, limit: Some(self.limit.get()), ..Range::now(keys.clone()) };
            match self.client.range(range).await {
                Ok(page) => {
                    self.at.get_or_insert(page.revision);
                    let last = page.items.last().filter(|_| page.more && !keys.is_one());
                    self.rest = last.map(|last| keys.above(&last.key));
                    return Ok(Some(page.items));
                }
                Err(ReadError::TooLarge(why)) => match NonZeroU32::new(self.limit.get() / 2) {
                    Some(fewer) => self.limit = fewer,
                    None => return Err(ReadError::TooLarge(why)),
                },
                Err(
                    error @ (ReadError::Compacted | ReadError::Future | ReadError::Refused(_) | ReadError::Failed(_)),
                ) => return Err(error),
            }
        }
    }
}
