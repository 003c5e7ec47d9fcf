/** Places in what is logged, like `user.ssn` or `items.*.code`, as a tree that is walked beside the value. */
export interface Place {
  readonly below: Map<string, Place>
  isHidden: boolean
}

/** Where a value stands: every place of the tree that it may be. */
export type Places = readonly Place[]

export function placesOf(texts: readonly string[]): Places {
  const root: Place = { below: new Map(), isHidden: false }
  for (const text of texts) {
    let place = root
    for (const key of text.split('.')) {
      let next = place.below.get(key)
      if (next === undefined) place.below.set(key, (next = { below: new Map(), isHidden: false }))
      place = next
    }
    place.isHidden = true
  }
  return root.below.size > 0 ? [root] : []
}

/** The places of a member; `*` stands for every key and every item of a list. */
export function placesBelow(places: Places, key: string): Places {
  if (places.length === 0) return places
  return places.flatMap(({ below }) => [below.get(key), below.get('*')].filter((place) => place !== undefined))
}
