//! The two data-control protocols (ext, and the older one of wlroots) behind one face: they differ in name only.

use super::desk::State;
use std::os::fd::BorrowedFd;
use wayland_client::backend::ObjectId;
use wayland_client::globals::GlobalList;
use wayland_client::protocol::wl_seat::WlSeat;
use wayland_client::{Connection, Dispatch, Proxy, QueueHandle, event_created_child};
use wayland_protocols::ext::data_control::v1::client as ext;
use wayland_protocols_wlr::data_control::v1::client as wlr;

use ext::ext_data_control_device_v1::ExtDataControlDeviceV1;
use ext::ext_data_control_manager_v1::ExtDataControlManagerV1;
use ext::ext_data_control_offer_v1::ExtDataControlOfferV1;
use ext::ext_data_control_source_v1::ExtDataControlSourceV1;
use wlr::zwlr_data_control_device_v1::ZwlrDataControlDeviceV1;
use wlr::zwlr_data_control_manager_v1::ZwlrDataControlManagerV1;
use wlr::zwlr_data_control_offer_v1::ZwlrDataControlOfferV1;
use wlr::zwlr_data_control_source_v1::ZwlrDataControlSourceV1;

/// What another program offers.
#[derive(Clone, Debug)]
pub enum Offer {
    Ext(ExtDataControlOfferV1),
    Wlr(ZwlrDataControlOfferV1),
}

/// What we offer.
#[derive(Clone, Debug)]
pub enum Source {
    Ext(ExtDataControlSourceV1),
    Wlr(ZwlrDataControlSourceV1),
}

/// The seat's clipboard.
#[derive(Debug)]
pub enum Device {
    Ext(ExtDataControlManagerV1, ExtDataControlDeviceV1),
    Wlr(ZwlrDataControlManagerV1, ZwlrDataControlDeviceV1),
}

impl Offer {
    pub fn receive(&self, mime: String, into: BorrowedFd<'_>) {
        match self {
            Offer::Ext(offer) => offer.receive(mime, into),
            Offer::Wlr(offer) => offer.receive(mime, into),
        }
    }

    pub fn destroy(&self) {
        match self {
            Offer::Ext(offer) => offer.destroy(),
            Offer::Wlr(offer) => offer.destroy(),
        }
    }
}

impl Source {
    pub fn offer(&self, mime: String) {
        match self {
            Source::Ext(source) => source.offer(mime),
            Source::Wlr(source) => source.offer(mime),
        }
    }

    pub fn id(&self) -> ObjectId {
        match self {
            Source::Ext(source) => source.id(),
            Source::Wlr(source) => source.id(),
        }
    }

    pub fn destroy(&self) {
        match self {
            Source::Ext(source) => source.destroy(),
            Source::Wlr(source) => source.destroy(),
        }
    }
}

impl Device {
    /// The clipboard, if the compositor lets it be controlled.
    pub fn bind(globals: &GlobalList, queue: &QueueHandle<State>, seat: &WlSeat) -> Option<Device> {
        if let Ok(manager) = globals.bind::<ExtDataControlManagerV1, _, _>(queue, 1..=1, ()) {
            let device = manager.get_data_device(seat, queue, ());
            return Some(Device::Ext(manager, device));
        }
        // Version 2 has the primary selection.
        let manager = globals.bind::<ZwlrDataControlManagerV1, _, _>(queue, 1..=2, ()).ok()?;
        let device = manager.get_data_device(seat, queue, ());
        Some(Device::Wlr(manager, device))
    }

    pub fn new_source(&self, queue: &QueueHandle<State>) -> Source {
        match self {
            Device::Ext(manager, _) => Source::Ext(manager.create_data_source(queue, ())),
            Device::Wlr(manager, _) => Source::Wlr(manager.create_data_source(queue, ())),
        }
    }

    /// Whether there is a primary selection.
    pub fn has_primary(&self) -> bool {
        match self {
            Device::Ext(..) => true,
            Device::Wlr(manager, _) => manager.version() >= 2,
        }
    }

    /// Sets the clipboard (slot 0) or the primary selection (slot 1); none clears it.
    pub fn set(&self, slot: usize, source: Option<&Source>) {
        match self {
            Device::Ext(_, device) => {
                let source =
                    source.and_then(|source| if let Source::Ext(source) = source { Some(source) } else { None });
                if slot == 0 { device.set_selection(source) } else { device.set_primary_selection(source) }
            }
            Device::Wlr(_, device) => {
                let source =
                    source.and_then(|source| if let Source::Wlr(source) = source { Some(source) } else { None });
                if slot == 0 { device.set_selection(source) } else { device.set_primary_selection(source) }
            }
        }
    }
}

macro_rules! dispatch {
    ($kind:ident, $manager:ty, $device:ty, $device_module:path, $offer:ty, $offer_module:path, $source:ty, $source_module:path) => {
        impl Dispatch<$manager, ()> for State {
            fn event(
                _: &mut Self,
                _: &$manager,
                _: <$manager as Proxy>::Event,
                (): &(),
                _: &Connection,
                _: &QueueHandle<Self>,
            ) {
            }
        }

        impl Dispatch<$device, ()> for State {
            fn event(
                state: &mut Self,
                _: &$device,
                event: <$device as Proxy>::Event,
                (): &(),
                _: &Connection,
                _: &QueueHandle<Self>,
            ) {
                use $device_module as module;
                match event {
                    module::Event::DataOffer { id } => state.offered(id.id(), Offer::$kind(id)),
                    module::Event::Selection { id } => state.selected(0, id.map(|id| id.id())),
                    module::Event::PrimarySelection { id } => state.selected(1, id.map(|id| id.id())),
                    _ => {}
                }
            }
            // Opcode 0 is data_offer, in both protocols.
            event_created_child!(State, $device, [0 => ($offer, ())]);
        }

        impl Dispatch<$offer, ()> for State {
            fn event(
                state: &mut Self,
                offer: &$offer,
                event: <$offer as Proxy>::Event,
                (): &(),
                _: &Connection,
                _: &QueueHandle<Self>,
            ) {
                use $offer_module as module;
                if let module::Event::Offer { mime_type } = event {
                    state.offers_type(&offer.id(), mime_type);
                }
            }
        }

        impl Dispatch<$source, ()> for State {
            fn event(
                state: &mut Self,
                source: &$source,
                event: <$source as Proxy>::Event,
                (): &(),
                _: &Connection,
                _: &QueueHandle<Self>,
            ) {
                use $source_module as module;
                match event {
                    module::Event::Send { mime_type, fd } => state.send(&source.id(), &mime_type, fd),
                    module::Event::Cancelled => state.cancelled(&source.id()),
                    _ => {}
                }
            }
        }
    };
}

dispatch!(
    Ext,
    ExtDataControlManagerV1,
    ExtDataControlDeviceV1,
    ext::ext_data_control_device_v1,
    ExtDataControlOfferV1,
    ext::ext_data_control_offer_v1,
    ExtDataControlSourceV1,
    ext::ext_data_control_source_v1
);
dispatch!(
    Wlr,
    ZwlrDataControlManagerV1,
    ZwlrDataControlDeviceV1,
    wlr::zwlr_data_control_device_v1,
    ZwlrDataControlOfferV1,
    wlr::zwlr_data_control_offer_v1,
    ZwlrDataControlSourceV1,
    wlr::zwlr_data_control_source_v1
);
