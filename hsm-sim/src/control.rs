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
//! A region of a pair has two more paths, and a pair those of [`pair_router`].
//!
//! A refusal is `{"error": "…"}` with a 4xx or 5xx status. Every request needs the control token of the region's ready
//! file as a bearer token; requests that a web page makes are refused. Faults and clock changes need a region that was
//! started for them.

mod api;
mod backup_api;
mod backup_client;
pub mod backup_model;
mod backup_table;
mod client;
mod model;
mod pair_api;
mod pair_client;
pub mod pair_model;
mod pair_table;
mod region_api;
mod table;

pub use api::{ControlState, router};
pub use backup_table::{backup_table, backup_text, restored_text, test_line};
pub use client::{ControlClient, ControlError};
pub use model::{
    AddUnitRequest, AddedUnit, AdvanceRequest, ClockStatus, FaultKind, FaultRequest, RemoveUnitRequest,
    Status, Target, UnitStatus,
};
pub use pair_api::pair_router;
pub use pair_table::{endpoints_table, log_table, pair_table, ready_lines, replicated_line, report_line};
pub use table::{clock_table, status_table};
