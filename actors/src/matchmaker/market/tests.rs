//! The market, offer by offer.
