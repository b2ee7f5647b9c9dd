use std::mem::MaybeUninit; use zonal::*;
fn main(){
 let memory=[MemoryRange::new(0x100000,0x14_0000,0)];
 let t=Topology{memory:&memory,reserved:&[],nodes:1,distances:&[10],cpus:&[NodeId(0),NodeId(0)]};
 let c=Config::new(t); let n=metadata_size(&c).unwrap();
 let mut m=vec![MaybeUninit::uninit();n];
 let z=PageAllocator::new(&c,OneCpu,&mut m).unwrap();
 let a:Vec<String>=std::env::args().collect(); let o=Order::new(a[1].parse().unwrap()).unwrap(); let k:u64=a[2].parse().unwrap();
 let r=std::hint::black_box(Request::order(o));
 for _ in 0..k{ let p=z.alloc_raw(&r).unwrap(); unsafe{z.free_raw(std::hint::black_box(p),o).unwrap()} }
}
