//! What mutants need from the books, in the build that contains them.

use super::*;

/// So many units and what is left of the account's deposit.
pub(super) fn with_the_rest(count: Units, account: &SellerAccount) -> Units {
    Units(count.0 + account.deposit.as_ref().map_or(0, |last| last.left.0))
}

impl Books {
    pub(super) fn last_of_the_smallest_time(&self) -> Option<&Request> {
        let time = self.queue.keys().next()?.time;
        self.queue.iter().take_while(|(key, _)| key.time == time).last().map(|(_, request)| request)
    }

    pub(super) fn forget_queue(&mut self) {
        self.queue.clear();
        self.buyers.values_mut().for_each(|account| account.open = None);
    }
}
