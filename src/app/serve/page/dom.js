// Elements. Text from recordings, models and clients only ever goes in as text nodes: nothing here parses markup.

/** The element with this id. */
export const $ = (id) => document.getElementById(id);

/**
 * A new element. `attributes`: strings are set as they are, `true` as an empty attribute, `false` and null are left out.
 * `children`: nodes, or strings that become text.
 */
export function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) {
    if (value === true) node.setAttribute(attribute, "");
    else if (value !== false && value != null) node.setAttribute(attribute, value);
  }
  node.append(...children.filter((child) => child != null && child !== false && child !== ""));
  return node;
}

/** Options of a menu: pairs of value and label. The value chosen before stays chosen where it still exists. */
export function fill(select, pairs, chosen = select.value) {
  select.replaceChildren(...pairs.map(([value, label]) => el("option", { value }, label)));
  if (pairs.some(([value]) => value === chosen)) select.value = chosen;
}

/** Whether the person asked for less movement. */
export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
