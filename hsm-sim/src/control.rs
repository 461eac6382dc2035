//! Faults, healing, the clock and the status of a running region, over HTTP on the loopback interface.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `GET /status` | | [`Status`] |
//! | `POST /fault` | [`FaultRequest`] | [`Status`] |
//! | `POST /heal` | [`Target`] | [`Status`] |
//! | `GET /clock` | | [`ClockStatus`] |
//! | `POST /clock/advance` | `{"seconds": N}` | [`ClockStatus`] |
//!
//! A refusal is `{"error": "…"}` with a 4xx or 5xx status. Every request needs the control token of the region's ready
//! file as a bearer token; requests that a web page makes are refused. Faults and clock changes need a region that was
//! started for them.

mod api;
mod client;
mod model;
mod table;

pub use api::{ControlState, router};
pub use client::{ControlClient, ControlError};
pub use model::{
    AddUnitRequest, AddedUnit, AdvanceRequest, ClockStatus, FaultKind, FaultRequest, RemoveUnitRequest,
    Status, Target, UnitStatus,
};
pub use table::{clock_table, status_table};
