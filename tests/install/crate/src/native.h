/* Includes what RocksDB's C header includes. */
#pragma once
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
size_t native_length(const char* text, bool twice);
#ifdef __cplusplus
}
#endif
