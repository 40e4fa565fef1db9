//! What mutants need from the trader, in the build that contains them.

use super::*;

impl Trader {
    /// Tells the buyer that its request is open. The request still waits.
    pub(super) fn accept_at_once(&mut self, request: Request) -> TraderMessage {
        let buyer = request.id.buyer;
        let status = crate::account::BuyerStatus { open: Some(request.clone()), ..self.books.buyer_status(buyer) };
        self.requests.put(request);
        TraderMessage::Buyer(status)
    }
}

/// Those of the sales of a batch that the books tell as well.
pub(super) fn kept_of(sales: Vec<Sale>, status: &SellerStatus) -> Vec<Sale> {
    sales.into_iter().filter(|sale| status.recent.contains(sale)).collect()
}

/// The seller that the mutants choose which do not ask the books for the right one.
pub(super) fn seller_for<'a>(
    books: &'a Books,
    request: &Request,
    may_sell: impl Fn(PeerId) -> bool,
) -> Option<(PeerId, &'a SellerAccount)> {
    let offers =
        books.sellers().iter().filter_map(|(seller, account)| Some((*seller, account, account.deposit.as_ref()?)));
    let (seller, account, deposit) = offers
        .filter(|(seller, _, deposit)| may_sell(*seller) && deposit.item == request.item)
        .filter(|(_, _, deposit)| mutant!(deposit.left >= request.quantity; StockUnchecked | AsksOneSellerOnly => true))
        .min_by_key(|(seller, account, _)| (mutant!(account.clock; SellerById => crate::clock::Time(0)), *seller))?;
    mutant!(AsksOneSellerOnly => if deposit.left < request.quantity { return None });
    Some((seller, account))
}
