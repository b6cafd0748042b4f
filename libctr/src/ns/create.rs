//! placeholder
/// x
pub struct Create;
/// x
pub struct TimeOffsets;
