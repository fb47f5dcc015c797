// GCC's _tile_loadconfig tells the compiler that it reads 8 bytes of the tile configuration; ldtilecfg reads 64. The
// optimiser may drop the stores to the other 56, and ggml's matrix products then crash (#GP) on processors with AMX:
// seen with GCC 12 at -O3. This names all 64 bytes.
#pragma once
#if defined(__cplusplus) && defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__AMX_TILE__)
#include <immintrin.h>
namespace bestbox {
struct tile_config {
    unsigned char bytes[64];
};
} // namespace bestbox
#define _tile_loadconfig(config) \
    __asm__ volatile("ldtilecfg\t%X0" ::"m"(*reinterpret_cast<const bestbox::tile_config *>(config)))
#endif
