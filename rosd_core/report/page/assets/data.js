"use strict";
// The blocks of the page: JSON in gzip in base64, opened when they are first needed.
const opened = new Map();

function block(name) {
  if (!opened.has(name)) opened.set(name, unpack(name));
  return opened.get(name);
}

async function unpack(name) {
  const element = document.getElementById("block-" + name);
  const bytes = Uint8Array.from(atob(element.textContent), (c) => c.charCodeAt(0));
  element.textContent = "";
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

// An element with text and attributes. Text is always text: nothing of the data is read as HTML.
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") element.addEventListener("click", value);
    else if (value !== null && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

const byId = (id) => document.getElementById(id);

// Characters that are invisible, move the cursor or turn the direction of writing.
const ODD = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/;
const codePoint = (c) => "U+" + c.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0");

// A text as nodes, in which such characters show as their code points.
function visible(text) {
  if (!ODD.test(text)) return [document.createTextNode(text)];
  return text.split(new RegExp("(" + ODD.source + ")")).filter((part) => part).map((part) =>
    part.length === 1 && ODD.test(part)
      ? make("span", { class: "odd" }, codePoint(part))
      : document.createTextNode(part));
}

const percent = (milli) => {
  const value = 100 * Math.exp(milli / 1000);
  return (value >= 99.95 ? "100" : value >= 0.095 ? value.toFixed(1) : value < 0.001 ? "<0.001" : value.toPrecision(1)) + " %";
};
