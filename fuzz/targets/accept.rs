//! Accept headers: what is picked can be had, was asked for, and is picked again when it is asked for twice.
#![no_main]

use libfuzzer_sys::fuzz_target;
use outrigger_api::media::{DiscoveryForm, Encoding, Form, Media, Offer, first_of};
use outrigger_api::openapi::Specification;

fuzz_target!(|header: &str| {
    let accept = Some(header);
    let twice = format!("{header},{header}");
    let unheard = format!("{header},chapter/verse");
    for bits in 0..32_u8 {
        let offer = Offer {
            protobuf: bits & 1 != 0,
            table: bits & 2 != 0,
            partial: bits & 4 != 0,
            list: bits & 8 != 0,
            watch: bits & 16 != 0,
        };
        match Media::negotiate(accept, false, &offer) {
            Ok(media) => {
                let protobuf = media.encoding == Encoding::Protobuf;
                match media.form {
                    Form::Object => assert!(offer.protobuf || !protobuf),
                    Form::Table(_) => assert!(offer.table && !protobuf),
                    Form::PartialMetadata(_) => assert!(offer.partial),
                }
                if !header.is_empty() {
                    assert_eq!(Media::negotiate(Some(&twice), false, &offer).ok(), Some(media), "twice");
                    assert_eq!(
                        Media::negotiate(Some(&unheard), false, &offer).ok(),
                        Some(media),
                        "with another"
                    );
                }
                assert!(!media.content_type().is_empty());
            }
            Err(status) => assert_eq!(status.code, 406),
        }
    }
    match DiscoveryForm::negotiate(accept, false) {
        Ok((form, encoding)) => {
            let aggregated = form == DiscoveryForm::Aggregated;
            assert!(!aggregated || header.contains("APIGroupDiscoveryList"));
            assert_eq!(form.content_type(encoding).contains("as=APIGroupDiscoveryList"), aggregated);
        }
        Err(status) => assert_eq!(status.code, 406),
    }
    if let Ok(encoding) = DiscoveryForm::negotiate_plain(accept, false) {
        assert_eq!(
            Encoding::of_status(accept, false),
            encoding,
            "an error comes as the answer would"
        );
    }
    for specification in [Specification::V2, Specification::V3] {
        if let Ok(encoding) = specification.negotiate(accept) {
            // What we send is what the client would take if we named it.
            let sent = specification.content_type(encoding);
            assert_eq!(specification.negotiate(Some(sent)).ok(), Some(encoding));
        }
    }
    let one = first_of(accept, &["json"]);
    assert!(one.is_none() || header.is_empty() || header.contains("json") || header.contains('*'));
});
