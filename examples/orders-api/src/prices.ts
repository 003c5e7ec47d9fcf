import type { ServiceClient } from '@platform/discovery'
import { HttpException, ServiceUnavailableException } from '@nestjs/common'
import { z } from 'zod'

const film = z.object({ priceCents: z.int().positive() })

/** What catalog-api asks for a film. */
export class Prices {
  readonly #catalog: ServiceClient
  constructor(catalog: ServiceClient) {
    this.#catalog = catalog
  }

  async of(filmId: number, signal?: AbortSignal): Promise<number> {
    const response = await this.#ask(filmId, signal)
    if (response.status === 404) {
      await response.body?.cancel()
      const errors = [{ pointer: '#/filmId', message: `no film has the number ${filmId}` }]
      throw new HttpException({ message: 'unknown film', errors }, 422)
    }
    if (!response.ok) {
      await response.body?.cancel()
      throw new ServiceUnavailableException(`catalog-api answered ${response.status}`)
    }
    return film.parse(await response.json()).priceCents
  }

  async #ask(filmId: number, signal?: AbortSignal): Promise<Response> {
    try {
      return await this.#catalog.fetch(`/films/${filmId}`, { idempotent: true, ...(signal && { signal }) })
    } catch (cause) {
      throw new ServiceUnavailableException('catalog-api gave no answer', { cause })
    }
  }
}
