//! id_map.
