//! What the integration tests share.

/// Runs a test body with every protocol of the registry, on one shard and on three.
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
                    for shards in [1, 3] {
                        let $store = Store::builder()
                            .shards(shards)
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

/// Runs a test body with the default protocol, on one shard and on three.
#[allow(unused_macros, reason = "a suite uses one of the two")]
macro_rules! on_each_shard_count {
    ($($(#[$meta:meta])* fn $name:ident($store:ident) $body:block)+) => {$(
        $(#[$meta])*
        #[test]
        fn $name() {
            for shards in [1, 3] {
                let $store = Store::builder()
                    .shards(shards)
                    .build()
                    .expect("a valid number of shards");
                $body
            }
        }
    )+};
}
