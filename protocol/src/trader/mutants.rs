//! What mutants need from the trader, in the build that contains them.

use super::*;

impl Trader {
    /// Tells the buyer that its request is open. The request still waits.
    pub(super) fn accept_at_once(&mut self, request: Request) -> TraderMessage {
        let buyer = request.id.buyer;
        let status = crate::account::BuyerStatus { open: Some(request.clone()), ..self.books.buyer_status(buyer) };
        keep_latest(&mut self.requests, buyer, request, |request| request.id.sequence);
        TraderMessage::Buyer(status)
    }
}
