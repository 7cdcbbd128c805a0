//! Phantoms as scripts: what one transaction has read by predicate, another one changes by
//! inserting, removing or bringing back a key.
//!
//! The names are Adya's (PMP: predicate-many-preceders, G2), and that of the example with two
//! classes is PostgreSQL's, which is from Bernstein's, Fekete's and Cahill's.
//!
//! At the start x=10 and y=20 are there. p and q share a prefix, and so do x, y and z.

use super::{Case, case, skew};

pub(super) const CASES: &[Case] = &[
    case(
        "own writes in a range",
        "1",
        "b1 i1(z=1) w1(x=11) s1(p-z) d1(y) S1(p-z:2) i1(p=3) s1(p-z) p1(x) f1 l1 c1",
    ),
    // Transaction 3 leaves a record of p without a version, in which 5 puts the first one: after 2,
    // which read the range, and so after the write of x that 1 has not seen.
    case(
        "a first version in what an abort has left, behind a range",
        "124567",
        "b6 w6(x=12) c6 b7 w7(x=13) c7 b1 r1(x) b2 s2(p-q) u2(x+1) c2 b3 r3(y) i3(p=1) b4 w4(y=21) \
         c4 c3 b5 i5(p=2) c5 r1(p) c1",
    ),
    case("PMP", "12", "b1 s1(p-q) b2 i2(p=30) c2 s1(p-q) c1"),
    case("PMP under a view", "12", "v1 s1(p-q) b2 i2(p=30) c2 s1(p-q) r1(p) c1"),
    case("PMP and a write", "2", "b1 s1(p-q) b2 i2(p=30) c2 s1(p-q) w1(z=1) c1"),
    case("PMP by remove", "2", "b1 s1(x-z) b2 d2(y) c2 s1(x-z) w1(p=1) c1"),
    // Hermitage: the one raises every value, the other removes what has a certain one.
    case(
        "PMP of a write by predicate",
        "1",
        "b1 b2 s1(x-z) s2(x-z) u1(x+10) u1(y+10) c1 d2(y) s2(x-z) c2",
    ),
    case(
        "PMP of a write by predicate, and an insert",
        "2",
        "b1 b2 s1(x-z) u1(x+1) u1(y+1) i2(z=30) c2 s1(x-z) c1",
    ),
    case("fractured range", "12", "v1 s1(p-q) b2 i2(p=1) i2(z=1) d2(x) c2 s1(x-z) c1"),
    case(
        "a key of a range that went and came",
        "23",
        "b1 s1(x-z) b2 d2(y) c2 s1(x-z) b3 i3(y=20) c3 s1(x-z) w1(p=11) c1",
    ),
    case(
        "a key of a range that came and went",
        "23",
        "b1 s1(p-q) b2 i2(p=1) c2 s1(p-q) b3 d3(p) c3 s1(p-q) w1(x=11) c1",
    ),
    skew("G2 by predicate", "1", "b1 b2 s1(p-q) s2(x-z) i1(z=1) i2(p=2) c1 c2"),
    skew("G2 by one predicate", "1", "b1 b2 s1(p-q) s2(p-q) i1(p=30) i2(q=42) c1 c2"),
    skew("G2 by predicate and by item", "1", "b1 b2 s1(p-q) r2(x) w1(x=11) i2(p=1) c1 c2"),
    skew(
        "G2 by predicate of three",
        "1",
        "b1 b2 b3 s1(p-p) s2(q-q) s3(z-z) i1(q=1) i2(z=2) i3(p=3) c1 c2 c3",
    ),
    // The reader closes the cycle, as in the read-only anomaly by item.
    skew(
        "read-only anomaly by predicate",
        "13",
        "b2 s2(x-z) b1 i1(z=20) c1 v3 s3(p-z) c3 w2(p=1) c2",
    ),
    skew(
        "intersecting data",
        "13",
        "b3 w3(p=100) c3 b1 b2 s1(x-z) s2(p-q) i1(q=30) i2(z=100) s1(x-z) s2(p-q) c1 c2",
    ),
    skew(
        "intersecting data by prefix",
        "13",
        "b3 w3(p=100) c3 b1 b2 p1(x) p2(p) i1(q=30) i2(z=100) p1(x) p2(p) c1 c2",
    ),
    skew("phantom by remove", "1", "b1 b2 s1(x-z) s2(x-z) d1(x) d2(y) c1 c2"),
    skew("phantom on a tombstone", "13", "b3 d3(y) c3 b1 b2 s1(x-z) s2(p-q) i1(p=1) i2(y=5) c1 c2"),
    skew("phantom at both ends", "1", "b1 b2 f1 l2 i1(z=1) i2(p=2) c1 c2"),
    skew("first of nothing", "13", "b3 d3(x) d3(y) c3 b1 b2 f1 l2 i1(p=1) i2(q=2) c1 c2"),
    skew("phantom above an early stop", "1", "b1 b2 S1(p-z:1) s2(p-q) i1(p=1) i2(z=5) c1 c2"),
    skew("phantom below an early stop", "1", "b1 b2 s1(p-z:1) s2(z-z) i1(z=1) i2(q=5) c1 c2"),
    case("no phantom behind an early stop", "12", "b1 s1(p-z:1) b2 i2(z=5) c2 w1(p=1) c1"),
    case("no phantom before an early stop", "12", "b1 S1(p-z:1) b2 i2(q=5) c2 w1(p=1) c1"),
    case("no phantom outside a range", "12", "b1 s1(p-q) b2 i2(z=5) c2 w1(x=1) c1"),
    // The record of an insert that was taken back is a key of no range, until somebody writes it.
    case(
        "phantom on what an abort has left, of timestamps",
        "1",
        "b1 b2 b3 s3(p-q) i1(p=1) c1 r2(x) i2(p=2) c2 w3(x=11) c3",
    ),
    skew(
        "phantom on what an abort has left, of a certifier",
        "34",
        "b1 b2 r1(x) r2(x) b4 w4(x=11) c4 b3 r3(x) s3(p-q) c3 i1(p=1) c1 i2(p=2) c2",
    ),
    skew(
        "G2 by predicate while the index grows",
        "13",
        "b1 b2 s1(p-q) s2(x-z) b3 m3 c3 i1(z=1) i2(p=2) c1 c2",
    ),
    skew(
        "phantom at the end of an index that grows",
        "13",
        "b1 b2 f1 S2(q-z:1) b3 m3 c3 i1(z=1) i2(p=2) c1 c2",
    ),
];
