//! Whose an instruction is.

use super::Place;

/// A part of a serving plugin, by what its source is for. Named in reports; a name is never changed without recording the baseline anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// `h2` and what it is made of.
    Http2,
    /// The executor, its timers, and its sockets.
    Runtime,
    /// Our side of a connection: frames of gRPC, deadlines, limits.
    Server,
    /// Messages and their checks.
    Protobuf,
    /// The calls of KMS.
    Service,
    /// Versions, key ids and envelopes.
    Keyring,
    /// Ciphers, digests, random numbers, and the providers that call them.
    Cipher,
    /// Log lines and counters.
    Log,
    /// malloc and free.
    Allocator,
    /// The rest of the C library: most of it is copying.
    Libc,
    /// Rust's own library where nothing says for whom.
    Std,
    /// All the rest.
    Other,
}

/// Crates by layer; a name that ends in `*` is a beginning.
const CRATES: [(Layer, &[&str]); 5] = [
    (
        Layer::Http2,
        &["h2", "http", "bytes", "slab", "fnv", "indexmap", "hashbrown", "equivalent", "atomic-waker", "tokio-util", "futures*"],
    ),
    (Layer::Runtime, &["tokio", "mio", "socket2", "parking_lot*", "pin-project-lite", "signal-hook-registry", "smallvec"]),
    (Layer::Protobuf, &["prost*"]),
    (
        Layer::Cipher,
        &[
            "aead",
            "aes*",
            "block-buffer",
            "cipher",
            "cmov",
            "cpubits",
            "cpufeatures",
            "crypto-common",
            "ctr",
            "ctutils",
            "digest",
            "getrandom",
            "ghash",
            "hkdf",
            "hmac",
            "hybrid-array",
            "inout",
            "polyval",
            "rand_core",
            "sha2",
            "subtle",
            "typenum",
            "universal-hash",
            "xaes-256-gcm",
            "zeroize",
        ],
    ),
    (Layer::Log, &["itoa", "humantime", "prometheus-client", "sharded-slab", "thread_local", "tracing*"]),
];

/// Modules of the plugin by layer: the first word of their path.
const MODULES: [(Layer, &[&str]); 6] = [
    (Layer::Server, &["server", "stretch"]),
    (Layer::Protobuf, &["protocol"]),
    (Layer::Service, &["adoption", "health", "service", "source"]),
    (Layer::Keyring, &["envelope", "hex", "key_id", "keyring", "wraps"]),
    (Layer::Cipher, &["entropy", "provider", "secret"]),
    (Layer::Log, &["log"]),
];

/// Functions of the C library that are the allocator, whatever file they are in; others of it are in malloc.c or arena.c.
const ALLOCATOR: [&str; 8] = ["malloc", "free", "calloc", "realloc", "posix_memalign", "aligned_alloc", "_int_*", "malloc_consolidate"];

impl Layer {
    /// Every layer.
    pub const ALL: [Self; 12] = [
        Self::Http2,
        Self::Runtime,
        Self::Server,
        Self::Protobuf,
        Self::Service,
        Self::Keyring,
        Self::Cipher,
        Self::Log,
        Self::Allocator,
        Self::Libc,
        Self::Std,
        Self::Other,
    ];

    /// As reports and the baseline name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http2 => "http2",
            Self::Runtime => "runtime",
            Self::Server => "server",
            Self::Protobuf => "protobuf",
            Self::Service => "service",
            Self::Keyring => "keyring and envelope",
            Self::Cipher => "cipher",
            Self::Log => "log and metrics",
            Self::Allocator => "allocator",
            Self::Libc => "libc",
            Self::Std => "std",
            Self::Other => "other",
        }
    }

    /// Whose source it is; Rust's own library works for whom the function belongs to that it was inlined into.
    pub(super) fn of(place: &Place) -> Self {
        let Place { object, file, function } = place;
        let library = object.rsplit('/').next().unwrap_or_default();
        if library.starts_with("libc.so") || library.starts_with("libc-") {
            let allocates = file.contains("/malloc/malloc.c") || file.contains("/malloc/arena.c") || any(&ALLOCATOR, function);
            return if allocates { Self::Allocator } else { Self::Libc };
        }
        if library.starts_with("ld-linux") || library.starts_with("libgcc_s") || library.starts_with("libm.so") {
            return Self::Libc;
        }
        if let Some((_, rest)) = file.split_once("/registry/src/") {
            return rest
                .split('/')
                .nth(1)
                .and_then(|folder| folder.rsplit_once('-'))
                .map_or(Self::Other, |(name, _version)| of_crate(name));
        }
        if file.contains("/rustc/") || file.contains("/rust/deps/") || file.contains("/library/std/") || file == "???" {
            return of_function(function);
        }
        if file.contains("/build/keywright-") {
            return Self::Protobuf;
        }
        file.rsplit_once("/src/").map_or(Self::Other, |(_, path)| of_module(path.split(['/', '.']).next().unwrap_or_default()))
    }
}

/// By the first word in its name that is a crate we know: `<h2::proto::streams::store::Ptr as core::ops::deref::Deref>::deref`.
fn of_function(function: &str) -> Layer {
    let words = || {
        function.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').filter(|word| word.contains("::") && !word.starts_with(':'))
    };
    for word in words() {
        let mut parts = word.split("::").filter(|part| !part.is_empty());
        match parts.next() {
            Some("keywright") => return of_module(parts.next().unwrap_or_default()),
            Some("core" | "alloc" | "std" | "hashbrown") | None => {}
            // What malloc and free are to the C library.
            Some("__rustc") => return Layer::Allocator,
            Some(name) => return of_crate(&name.replace('_', "-")),
        }
    }
    Layer::Std
}

fn of_crate(name: &str) -> Layer {
    CRATES.iter().find(|(_, names)| any(names, name) || any(names, &name.replace('-', "_"))).map_or(Layer::Other, |(layer, _)| *layer)
}

fn of_module(name: &str) -> Layer {
    MODULES.iter().find(|(_, names)| any(names, name)).map_or(Layer::Other, |(layer, _)| *layer)
}

fn any(names: &[&str], name: &str) -> bool {
    names.iter().any(|known| known.strip_suffix('*').map_or(*known == name, |beginning| name.starts_with(beginning)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instruction_belongs_to_who_wrote_it_and_rusts_own_to_who_it_works_for() {
        let registry = "/home/x/.cargo/registry/src/index-1";
        let core = "/rustc/0123/library/core/src/slice/mod.rs";
        let places = [
            ("keywright", format!("{registry}/h2-0.4.13/src/hpack/table.rs"), "keywright::server::grpc::serve", Layer::Http2),
            ("keywright", format!("{registry}/aes-gcm-0.11.1/src/lib.rs"), "x", Layer::Cipher),
            ("keywright", format!("{registry}/parking_lot-0.12.1/src/lib.rs"), "x", Layer::Runtime),
            ("keywright", format!("{registry}/unheard-of-1.0.0/src/lib.rs"), "x", Layer::Other),
            ("keywright", "/x/src/service/kms_v2.rs".into(), "x", Layer::Service),
            ("keywright", "/x/src/key_id.rs".into(), "x", Layer::Keyring),
            ("keywright", "/x/target/gate/build/keywright-01/out/v2.rs".into(), "x", Layer::Protobuf),
            ("keywright", core.into(), "<h2::frame::Head as core::fmt::Debug>::fmt", Layer::Http2),
            ("keywright", core.into(), "core::ptr::drop_in_place<alloc::vec::Vec<keywright::log::Line>>", Layer::Log),
            ("keywright", core.into(), "tokio_util::codec::Framed<T>::poll", Layer::Http2),
            ("keywright", core.into(), "<alloc::vec::Vec<T> as core::ops::Drop>::drop", Layer::Std),
            ("keywright", core.into(), "std::sync::poison::mutex::Mutex<T>::lock", Layer::Std),
            ("keywright", "???".into(), "__rustc::__rust_alloc", Layer::Allocator),
            ("libc.so.6", "./malloc/./malloc/malloc.c".into(), "unlink_chunk.constprop.0", Layer::Allocator),
            ("libc.so.6", "???".into(), "_int_free", Layer::Allocator),
            ("libc.so.6", "./string/memmove-vec-unaligned-erms.S".into(), "__memcpy_avx_unaligned_erms", Layer::Libc),
        ];
        for (object, file, function, layer) in places {
            let place = Place { object: format!("/x/{object}"), file, function: function.into() };
            assert_eq!(Layer::of(&place), layer, "{place:?}");
        }
    }

    #[test]
    fn no_two_layers_have_one_name() {
        let names: std::collections::BTreeSet<_> = Layer::ALL.map(Layer::name).into();
        assert_eq!(names.len(), Layer::ALL.len());
    }
}
