import { type Context, propagation, type TextMapGetter, type TextMapPropagator, type TextMapSetter } from '@opentelemetry/api'
import { W3CBaggagePropagator } from '@opentelemetry/core'

/**
 * W3C baggage of allowed names only, both ways: what strangers send would otherwise travel through every service and message, and what a service
 * keeps there would leave with every request to others.
 */
export class AllowedBaggage implements TextMapPropagator {
  readonly #allowed: ReadonlySet<string>
  readonly #inner = new W3CBaggagePropagator()

  constructor(names: readonly string[]) {
    this.#allowed = new Set(names)
  }

  inject(from: Context, carrier: unknown, setter: TextMapSetter): void {
    this.#inner.inject(this.#filtered(from), carrier, setter)
  }

  extract(into: Context, carrier: unknown, getter: TextMapGetter): Context {
    return this.#allowed.size === 0 ? into : this.#filtered(this.#inner.extract(into, carrier, getter))
  }

  fields(): string[] {
    return this.#inner.fields()
  }

  #filtered(given: Context): Context {
    const baggage = propagation.getBaggage(given)
    if (baggage === undefined) return given
    const strangers = baggage.getAllEntries().flatMap(([name]) => (this.#allowed.has(name) ? [] : [name]))
    return strangers.length === 0 ? given : propagation.setBaggage(given, baggage.removeEntries(...strangers))
  }
}
