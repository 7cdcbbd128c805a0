//! What the integration tests share.

/// Runs a test body with every protocol of the registry, on one shard and on three, whose ordered
/// tables have one part or two.
#[allow(unused_macros, reason = "a suite uses one of the two")]
macro_rules! for_each_protocol {
    ($($(#[$meta:meta])* fn $name:ident<$p:ident>($store:ident) $body:block)+) => {$(
        $(#[$meta])*
        #[test]
        fn $name() {
            struct Body;
            impl Visitor for Body {
                type Output = ();
                fn visit<$p: Protocol>(self) {
                    for (shards, parts) in [(1, 1), (3, 1), (3, 2)] {
                        let $store = Store::builder()
                            .shards(shards)
                            .ordered_parts(parts)
                            .build_with::<$p>()
                            .expect("a valid number of shards");
                        $body
                    }
                }
            }
            for name in protocol::NAMES {
                protocol::dispatch(name, Body).expect("a registered protocol");
            }
        }
    )+};
}

/// As `for_each_protocol`, with the default protocol only.
#[allow(unused_macros, reason = "a suite uses one of the two")]
macro_rules! on_each_shard_count {
    ($($(#[$meta:meta])* fn $name:ident($store:ident) $body:block)+) => {$(
        $(#[$meta])*
        #[test]
        fn $name() {
            for (shards, parts) in [(1, 1), (3, 1), (3, 2)] {
                let $store = Store::builder()
                    .shards(shards)
                    .ordered_parts(parts)
                    .build()
                    .expect("a valid number of shards");
                $body
            }
        }
    )+};
}
