//! The keys that a shortcut may name, with what each system calls them.

use super::Modifier;

/// One key of a keyboard.
#[derive(Debug, PartialEq, Eq)]
pub struct Key {
    /// What users write; the first is the one that is shown.
    pub names: &'static [&'static str],
    /// X11 keysyms that stand for it; the first is also what Wayland compositors call it. From xorgproto's keysymdef.h
    /// and XF86keysym.h.
    pub keysyms: &'static [u32],
    /// Name of the first keysym.
    pub symbol: &'static str,
    /// Codes of Linux's input-event-codes.h: positions on a US keyboard.
    pub codes: &'static [u16],
    /// Set for Ctrl, Alt, Shift and Super, of either side.
    pub modifier: Option<Modifier>,
}

const fn key(
    names: &'static [&'static str],
    keysyms: &'static [u32],
    symbol: &'static str,
    codes: &'static [u16],
) -> Key {
    Key { names, keysyms, symbol, codes, modifier: None }
}

const fn modifier(
    modifier: Modifier,
    names: &'static [&'static str],
    keysyms: &'static [u32],
    symbol: &'static str,
    codes: &'static [u16],
) -> Key {
    Key { names, keysyms, symbol, codes, modifier: Some(modifier) }
}

/// Every key. Looked up by name once for each binding, so a list is enough.
pub static KEYS: &[Key] = &[
    key(&["a"], &[0x61], "a", &[30]),
    key(&["b"], &[0x62], "b", &[48]),
    key(&["c"], &[0x63], "c", &[46]),
    key(&["d"], &[0x64], "d", &[32]),
    key(&["e"], &[0x65], "e", &[18]),
    key(&["f"], &[0x66], "f", &[33]),
    key(&["g"], &[0x67], "g", &[34]),
    key(&["h"], &[0x68], "h", &[35]),
    key(&["i"], &[0x69], "i", &[23]),
    key(&["j"], &[0x6a], "j", &[36]),
    key(&["k"], &[0x6b], "k", &[37]),
    key(&["l"], &[0x6c], "l", &[38]),
    key(&["m"], &[0x6d], "m", &[50]),
    key(&["n"], &[0x6e], "n", &[49]),
    key(&["o"], &[0x6f], "o", &[24]),
    key(&["p"], &[0x70], "p", &[25]),
    key(&["q"], &[0x71], "q", &[16]),
    key(&["r"], &[0x72], "r", &[19]),
    key(&["s"], &[0x73], "s", &[31]),
    key(&["t"], &[0x74], "t", &[20]),
    key(&["u"], &[0x75], "u", &[22]),
    key(&["v"], &[0x76], "v", &[47]),
    key(&["w"], &[0x77], "w", &[17]),
    key(&["x"], &[0x78], "x", &[45]),
    key(&["y"], &[0x79], "y", &[21]),
    key(&["z"], &[0x7a], "z", &[44]),
    key(&["0"], &[0x30], "0", &[11]),
    key(&["1"], &[0x31], "1", &[2]),
    key(&["2"], &[0x32], "2", &[3]),
    key(&["3"], &[0x33], "3", &[4]),
    key(&["4"], &[0x34], "4", &[5]),
    key(&["5"], &[0x35], "5", &[6]),
    key(&["6"], &[0x36], "6", &[7]),
    key(&["7"], &[0x37], "7", &[8]),
    key(&["8"], &[0x38], "8", &[9]),
    key(&["9"], &[0x39], "9", &[10]),
    key(&["f1"], &[0xffbe], "F1", &[59]),
    key(&["f2"], &[0xffbf], "F2", &[60]),
    key(&["f3"], &[0xffc0], "F3", &[61]),
    key(&["f4"], &[0xffc1], "F4", &[62]),
    key(&["f5"], &[0xffc2], "F5", &[63]),
    key(&["f6"], &[0xffc3], "F6", &[64]),
    key(&["f7"], &[0xffc4], "F7", &[65]),
    key(&["f8"], &[0xffc5], "F8", &[66]),
    key(&["f9"], &[0xffc6], "F9", &[67]),
    key(&["f10"], &[0xffc7], "F10", &[68]),
    key(&["f11"], &[0xffc8], "F11", &[87]),
    key(&["f12"], &[0xffc9], "F12", &[88]),
    // Keyboards' maps give these three and some more to media keys: both symbols count.
    key(&["f13"], &[0xffca, 0x1008_ff81], "F13", &[183]),
    key(&["f14"], &[0xffcb, 0x1008_ff45], "F14", &[184]),
    key(&["f15"], &[0xffcc, 0x1008_ff46], "F15", &[185]),
    key(&["f16"], &[0xffcd, 0x1008_ff47], "F16", &[186]),
    key(&["f17"], &[0xffce, 0x1008_ff48], "F17", &[187]),
    key(&["f18"], &[0xffcf, 0x1008_ff49], "F18", &[188]),
    key(&["f19"], &[0xffd0], "F19", &[189]),
    key(&["f20"], &[0xffd1], "F20", &[190]),
    key(&["f21"], &[0xffd2], "F21", &[191]),
    key(&["f22"], &[0xffd3], "F22", &[192]),
    key(&["f23"], &[0xffd4], "F23", &[193]),
    key(&["f24"], &[0xffd5], "F24", &[194]),
    key(&["space"], &[0x20], "space", &[57]),
    key(&["enter", "return"], &[0xff0d], "Return", &[28]),
    key(&["tab"], &[0xff09], "Tab", &[15]),
    key(&["escape", "esc"], &[0xff1b], "Escape", &[1]),
    key(&["backspace"], &[0xff08], "BackSpace", &[14]),
    key(&["insert", "ins"], &[0xff63], "Insert", &[110]),
    key(&["delete", "del"], &[0xffff], "Delete", &[111]),
    key(&["home"], &[0xff50], "Home", &[102]),
    key(&["end"], &[0xff57], "End", &[107]),
    key(&["page_up", "prior"], &[0xff55], "Prior", &[104]),
    key(&["page_down", "next"], &[0xff56], "Next", &[109]),
    key(&["up"], &[0xff52], "Up", &[103]),
    key(&["down"], &[0xff54], "Down", &[108]),
    key(&["left"], &[0xff51], "Left", &[105]),
    key(&["right"], &[0xff53], "Right", &[106]),
    key(&["pause", "break"], &[0xff13, 0xff6b], "Pause", &[119]),
    key(&["print_screen", "print", "sys_rq"], &[0xff61, 0xff15], "Print", &[99]),
    key(&["scroll_lock"], &[0xff14], "Scroll_Lock", &[70]),
    key(&["caps_lock"], &[0xffe5], "Caps_Lock", &[58]),
    key(&["num_lock"], &[0xff7f], "Num_Lock", &[69]),
    key(&["menu", "compose"], &[0xff67, 0xff20], "Menu", &[127, 139]),
    key(&["minus", "-"], &[0x2d], "minus", &[12]),
    key(&["equal", "="], &[0x3d], "equal", &[13]),
    key(&["left_bracket", "["], &[0x5b], "bracketleft", &[26]),
    key(&["right_bracket", "]"], &[0x5d], "bracketright", &[27]),
    key(&["semicolon", ";"], &[0x3b], "semicolon", &[39]),
    key(&["apostrophe", "quote", "'"], &[0x27], "apostrophe", &[40]),
    key(&["grave", "backquote", "`"], &[0x60], "grave", &[41]),
    key(&["backslash", "\\"], &[0x5c], "backslash", &[43]),
    key(&["comma", ","], &[0x2c], "comma", &[51]),
    key(&["period", "dot", "."], &[0x2e], "period", &[52]),
    key(&["slash", "/"], &[0x2f], "slash", &[53]),
    key(&["less", "<"], &[0x3c], "less", &[86]),
    key(&["keypad_0", "kp_0"], &[0xff9e, 0xffb0], "KP_Insert", &[82]),
    key(&["keypad_enter", "kp_enter"], &[0xff8d], "KP_Enter", &[96]),
    key(&["keypad_add", "kp_add"], &[0xffab], "KP_Add", &[78]),
    key(&["keypad_subtract", "kp_subtract"], &[0xffad], "KP_Subtract", &[74]),
    key(&["keypad_multiply", "kp_multiply"], &[0xffaa], "KP_Multiply", &[55]),
    key(&["keypad_divide", "kp_divide"], &[0xffaf], "KP_Divide", &[98]),
    key(&["volume_mute"], &[0x1008_ff12], "XF86AudioMute", &[113]),
    key(&["microphone_mute", "mic_mute"], &[0x1008_ffb2], "XF86AudioMicMute", &[248]),
    key(&["play_pause", "play"], &[0x1008_ff14], "XF86AudioPlay", &[164]),
    key(&["media_record"], &[0x1008_ff1c], "XF86AudioRecord", &[167]),
    key(&["calculator"], &[0x1008_ff1d], "XF86Calculator", &[140]),
    key(&["launch_1"], &[0x1008_ff41], "XF86Launch1", &[148]),
    key(&["launch_2"], &[0x1008_ff42], "XF86Launch2", &[149]),
    modifier(Modifier::Ctrl, &["left_ctrl", "left_control", "control_l"], &[0xffe3], "Control_L", &[29]),
    modifier(Modifier::Ctrl, &["right_ctrl", "right_control", "control_r"], &[0xffe4], "Control_R", &[97]),
    modifier(Modifier::Shift, &["left_shift", "shift_l"], &[0xffe1], "Shift_L", &[42]),
    modifier(Modifier::Shift, &["right_shift", "shift_r"], &[0xffe2], "Shift_R", &[54]),
    modifier(Modifier::Alt, &["left_alt", "alt_l"], &[0xffe9], "Alt_L", &[56]),
    // Many layouts make the right Alt key AltGr.
    modifier(Modifier::Alt, &["right_alt", "alt_gr", "alt_r"], &[0xffea, 0xfe03, 0xff7e], "Alt_R", &[100]),
    modifier(Modifier::Super, &["left_super", "left_meta", "left_win", "super_l"], &[0xffeb], "Super_L", &[125]),
    modifier(Modifier::Super, &["right_super", "right_meta", "right_win", "super_r"], &[0xffec], "Super_R", &[126]),
    // Either side: only together with another modifier.
    modifier(Modifier::Ctrl, &["ctrl", "control"], &[0xffe3, 0xffe4], "Control_L", &[29, 97]),
    modifier(Modifier::Shift, &["shift"], &[0xffe1, 0xffe2], "Shift_L", &[42, 54]),
    modifier(Modifier::Alt, &["alt", "option"], &[0xffe9, 0xffea], "Alt_L", &[56, 100]),
    modifier(
        Modifier::Super,
        &["super", "meta", "win", "logo", "cmd", "command"],
        &[0xffeb, 0xffec],
        "Super_L",
        &[125, 126],
    ),
];

impl Key {
    /// The name that is shown.
    pub fn name(&self) -> &'static str {
        self.names[0]
    }

    /// Whether it stands for the modifier of either side.
    pub fn either_side(&self) -> bool {
        self.modifier.is_some_and(|modifier| modifier.name() == self.name())
    }
}

/// The key of a name, whatever its case, with or without underscores and hyphens.
pub fn find(name: &str) -> Option<&'static Key> {
    let wanted = plain(name);
    KEYS.iter().find(|key| key.names.iter().any(|name| plain(name) == wanted))
}

/// The name nearest to a misspelt one, and how alike they are (0 to 1).
pub fn nearest(name: &str) -> Option<(&'static str, f64)> {
    let wanted = plain(name);
    let names = KEYS.iter().flat_map(|key| key.names.iter().copied()).filter(|name| name.len() > 1);
    names
        .map(|name| (name, strsim::jaro_winkler(&plain(name), &wanted)))
        .max_by(|one, other| one.1.total_cmp(&other.1))
        .filter(|(_, likeness)| *likeness > 0.7)
}

fn plain(name: &str) -> String {
    let name = name.trim().to_lowercase();
    // A lone hyphen or underscore is a key of its own.
    if name.chars().count() == 1 { name } else { name.replace(['_', '-', ' '], "") }
}
