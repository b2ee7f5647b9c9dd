//! What policies and zones are called in a description.

use serde::Deserialize;
use zonal::{Caching, Checking, Naming, ZoneKind};

#[derive(Deserialize)]
#[serde(remote = "Caching", rename_all = "lowercase")]
pub(super) enum CachingName {
    Local,
    All,
    Off,
}

#[derive(Deserialize)]
#[serde(remote = "Checking", rename_all = "lowercase")]
pub(super) enum CheckingName {
    Off,
    On,
}

#[derive(Deserialize)]
#[serde(remote = "Naming", rename_all = "lowercase")]
pub(super) enum NamingName {
    Off,
    On,
}

#[derive(Deserialize)]
#[serde(remote = "ZoneKind")]
pub(super) enum ZoneName {
    #[serde(rename = "DMA")]
    Dma,
    #[serde(rename = "DMA32")]
    Dma32,
    Normal,
    Movable,
}
