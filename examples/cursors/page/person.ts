const ADJECTIVES = ["Amber", "Brisk", "Calm", "Clever", "Gentle", "Lucky", "Mellow", "Quiet", "Sunny", "Vivid"];
const ANIMALS = ["Badger", "Crane", "Falcon", "Fox", "Heron", "Lynx", "Otter", "Panda", "Robin", "Wren"];
const HUES = 8;

export interface Person {
  id: string;
  name: string;
}

/** Who looks at the page: `?user=NAME`, or a guest who stays the same in this window. */
export function identify(): Person {
  const asked = new URLSearchParams(location.search).get("user")?.trim().slice(0, 40);
  if (asked) return { id: asked, name: asked };
  const kept = recall();
  if (kept) return kept;
  const [one = 0, two = 0, three = 0] = crypto.getRandomValues(new Uint32Array(3));
  const name = `${ADJECTIVES[one % ADJECTIVES.length]} ${ANIMALS[two % ANIMALS.length]}`;
  const guest = { id: `${name.toLowerCase().replace(" ", "-")}-${three.toString(36)}`, name };
  try {
    sessionStorage.setItem("guest", JSON.stringify(guest));
  } catch {
    // storage may be forbidden; a new guest is no harm
  }
  return guest;
}

function recall(): Person | null {
  try {
    return JSON.parse(sessionStorage.getItem("guest") ?? "null");
  } catch {
    return null;
  }
}

/** The number of a colour that follows from the id, the same for everybody. */
export function hueOf(id: string): number {
  let hash = 0;
  for (const character of id) hash = (hash * 31 + character.codePointAt(0)!) % 9973;
  return hash % HUES;
}
