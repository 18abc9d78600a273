//! How hard a backup is compressed, by its type.

use std::fs;

use crate::support::cli::Place;

/// Text that a compressor that looks harder makes shorter.
fn text() -> String {
    let words = ["full", "differential", "overlay", "whiteout", "catalog", "pack", "chunk", "block", "birth", "series"];
    let mut state = 7_u32;
    let mut text = String::new();
    while text.len() < 600_000 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text.push_str(words[(state >> 24) as usize % words.len()]);
        text.push(if state >> 23 & 7 == 0 { '\n' } else { ' ' });
    }
    text
}

fn stored(place: &Place, more: &[&str]) -> u64 {
    place.backup(&[&["--full", "--independent"], more].concat())["counts"]["stored_bytes"].as_u64().unwrap()
}

#[test]
fn level_is_chosen_by_flag_or_by_the_configuration_for_each_type() {
    let place = Place::with_store();
    fs::write(place.src().join("text"), text()).unwrap();
    let usual = stored(&place, &[]);
    assert_eq!(stored(&place, &["--level", "3"]), usual);
    let hard = stored(&place, &["--level", "19"]);
    assert!(hard < usual * 95 / 100, "{hard} of {usual}");
    place.run(["backup", "src", "--level", "20"]).exits(2);

    let config = place.path("config.toml");
    fs::write(&config, "[sources.src]\npath = \"/nowhere\"\nfull_level = 19\ndifferential_level = 1\n").unwrap();
    let configured = |more: &[&str]| {
        let ran =
            place.run([&["--config", config.to_str().unwrap(), "backup", "src", "--json"], more].concat()).exits(0);
        ran.json()[0]["counts"]["stored_bytes"].as_u64().unwrap()
    };
    assert_eq!(configured(&["--full", "--independent"]), hard);
    fs::write(place.src().join("text"), text().to_uppercase()).unwrap();
    assert!(configured(&["--differential"]) > usual, "level 1 looks less hard than 3");
    place.run(["verify", "--data"]).exits(0);
}
