//! List and watch options, and the continue tokens in them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use outrigger_api::continue_token::ContinueToken;
use outrigger_api::list_options::{ListOptions, ResourceVersion, ResourceVersionMatch};

fuzz_target!(|query: &str| {
    match ListOptions::parse(query) {
        Ok(options) => {
            assert_eq!(ListOptions::parse(query), Ok(options.clone()), "reading twice");
            // What upstream forbids (apimachinery meta/internalversion/validation) does not come through.
            if options.resource_version_match == Some(ResourceVersionMatch::Exact) {
                assert!(matches!(options.resource_version, ResourceVersion::At(_)), "{options:?}");
            }
            if !options.watch {
                assert_ne!(options.send_initial_events, Some(true), "{options:?}");
                assert!(
                    options.continue_token.is_empty() || options.resource_version_match.is_none(),
                    "{options:?}"
                );
            }
            if !options.continue_token.is_empty() {
                match ContinueToken::decode(&options.continue_token) {
                    // What is taken leads into what is listed, and is written as it was read.
                    Ok(token) => {
                        assert!(!token.start.is_empty() && !token.start.starts_with('/'), "{token:?}");
                        assert_eq!(ContinueToken::decode(&token.encode()), Ok(token));
                    }
                    Err(status) => assert_eq!(status.code, 400, "{status:?}"),
                }
            }
            if let Some(limit) = options.limit {
                assert!(i64::try_from(limit.get()).is_ok());
            }
        }
        Err(status) => {
            assert!([400, 422].contains(&status.code), "{status:?}");
            assert!(!status.message.is_empty());
        }
    }
});
