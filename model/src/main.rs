fn main() {
    for name in std::env::args().skip(1) {
        let s = model::scenario::named(&name).unwrap();
        let r = model::check::check(s, 2, |p| if p.elapsed.as_millis() % 20000 < 20 { eprintln!("{p:?}") });
        println!("{} {:?} {} states, {} steps, depth {}, {:.1} s, {:.0}/s, {:?} B/state\n  met {:?}", r.scenario, r.verdict, r.states, r.steps, r.depth, r.seconds, r.rate(), r.bytes_per_state, r.met);
        if let Some(c) = r.counterexample { println!("{}", c.violation); for w in c.words { println!("  {w}"); } }
    }
}
