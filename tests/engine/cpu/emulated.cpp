// Calls a generated function on memory that comes by a file and goes back into it. The file holds int64 numbers (which
// function, how many lengths, pointers and stretches of memory; the lengths; for each pointer a stretch and a place in
// it, or -1 for none; the stretches' sizes), and then the memory.
#include <cstdint>
#include <cstdio>
#include <vector>

struct Kernels;
extern "C" {
const Kernels* kernels();
void forward(const long* n, void* const* p);
void backward(const long* n, void* const* p);
}

int main(int, char** arguments) {
  FILE* file = std::fopen(arguments[1], "r+b");
  const auto numbers = [&](long count) {
    std::vector<int64_t> read(count);
    if (std::fread(read.data(), 8, count, file) != (size_t)count) throw 1;
    return read;
  };
  const auto head = numbers(4);
  const auto given = numbers(head[1]), places = numbers(2 * head[2]), sizes = numbers(head[3]);
  const std::vector<long> lengths(given.begin(), given.end());
  std::vector<std::vector<char>> memory;
  const long begin = std::ftell(file);
  for (int64_t size : sizes) {
    memory.emplace_back(size);
    if (std::fread(memory.back().data(), 1, size, file) != (size_t)size) throw 2;
  }
  std::vector<void*> pointers;
  for (long i = 0; i < head[2]; i++)
    pointers.push_back(places[2 * i] < 0 ? nullptr : memory[places[2 * i]].data() + places[2 * i + 1]);
  pointers.push_back((void*)kernels());
  (head[0] ? backward : forward)(lengths.data(), pointers.data());
  std::fseek(file, begin, SEEK_SET);
  for (const auto& part : memory) std::fwrite(part.data(), 1, part.size(), file);
  return std::fclose(file);
}
